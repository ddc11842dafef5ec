import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Dims } from '../../lib/kernels/defineKernel.ts';
import { environment } from '../../lib/runtime/env.ts';
import { startLinePeer, type LinePeer } from './linePeer.ts';

interface Program {
  versions: Record<string, string>;
  ask: LinePeer<unknown>['ask'];
  close(): void;
}

const pathOf = (name: string) => fileURLToPath(new URL(`../peers/${name}`, import.meta.url));

async function start(command: string, args: string[], ended: () => void = () => undefined): Promise<Program> {
  const peer = await startLinePeer<{ versions: Record<string, string> }>(command, args);
  return {
    versions: peer.ready.versions,
    ask: (question) => peer.ask(question),
    close() {
      peer.close();
      ended();
    },
  };
}

/** PyTorch, if `G2RPO_PEER_PYTHON` names a Python that has it. */
function torch(): Promise<Program> | undefined {
  const { peerPython } = environment();
  return peerPython === undefined ? undefined : start(peerPython, [pathOf('torch_kernels.py')]);
}

/** oneDNN and OpenBLAS, those of them whose headers are there. */
function products(): Promise<Program> | undefined {
  const compile = (args: string[], input = '') => spawnSync('c++', args, { input, encoding: 'utf8' });
  const there = (header: string) =>
    compile(['-x', 'c++', '-std=c++20', '-fsyntax-only', '-'], `#include <${header}>\n`).status === 0;
  const libraries = [...(there('oneapi/dnnl/dnnl.hpp') ? ['-ldnnl'] : []), ...(there('cblas.h') ? ['-lopenblas'] : [])];
  if (libraries.length === 0) return undefined;
  const dir = mkdtempSync(join(tmpdir(), 'g2rpo-peer-'));
  const program = join(dir, 'products');
  const { status, stderr } = compile(['-std=c++20', '-O2', '-o', program, pathOf('products.cpp'), ...libraries]);
  const clear = () => rmSync(dir, { recursive: true });
  if (status !== 0) {
    clear();
    throw new Error(`bench/peers/products.cpp does not compile with ${libraries.join(' ')}:\n${stderr}`);
  }
  return start('env', ['OMP_NUM_THREADS=1', 'OPENBLAS_NUM_THREADS=1', program], clear);
}

let started: Promise<Program[]> | undefined;
/** A process each for all kernels of a run. */
const programs = () => (started ??= Promise.all([torch(), products()].filter((program) => program !== undefined)));

/** The ways in which others do a kernel's work (bench/peers), all of it in bf16 if weights are: CPU seconds of one call, mean of `count`. None where it is not measured. */
export async function kernelPeers(kernel: string, dims: Dims, bf16 = false) {
  const all = [];
  for (const { versions, ask } of await programs()) {
    const { ways } = await ask<{ ways: string[] }>({ kernel, dims, dtype: bf16 ? 'bfloat16' : 'float32' });
    for (const way of ways)
      all.push({
        name: way === 'torch' ? `torch ${versions['torch']}` : way,
        seconds: async (count: number) => (await ask<{ seconds: number }>({ way, count })).seconds,
      });
  }
  return all;
}

export async function closeKernelPeers(): Promise<void> {
  for (const program of (await started) ?? []) program.close();
}
