import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import { join, relative } from 'node:path';
import { environment } from './env.ts';
import { deviceLibrary, libraryBuilder, loadAddon, native, packageRoot, type Native } from './native.ts';

/** One thing that was looked at, in words. */
export interface Finding {
  topic: string;
  found: string;
}

/**
 * What this machine offers: the addon and its kernels, processor, memory, backends or why there are none.
 *
 * `healthy` is false if nothing can be computed here.
 */
export async function examineMachine(): Promise<{ healthy: boolean; findings: Finding[] }> {
  const device = chosenDevice(); // first: looking at an addon may begin work on the CPU
  const addon = examineAddon();
  const findings = [
    { topic: 'node', found: `${process.version}, ${process.platform} ${process.arch}` },
    ...addon.findings,
    { topic: 'processor', found: `${os.cpus()[0]?.model.trim() ?? 'unknown'}, ${os.availableParallelism()} threads` },
    { topic: 'memory', found: memory() },
    { topic: 'huge pages', found: hugePages() },
    { topic: 'images', found: await imageLibrary() },
    { topic: 'cpu', found: addon.there ? 'available' : 'not available: the addon does not load' },
    ...(addon.there ? cudaDevice() : [{ topic: 'cuda', found: 'not available: the addon does not load' }]),
    ...cudaTools(),
    { topic: 'neuron', found: `not in this build; ${existsSync('/dev/neuron0') ? 'a device is there' : 'no device'}` },
    { topic: 'device', found: device.found },
  ];
  return { healthy: device.healthy, findings };
}

function examineAddon(): { there: boolean; findings: Finding[] } {
  try {
    const addon = loadAddon();
    const { path } = createRequire(import.meta.url)('node-gyp-build') as { path(dir: string): string };
    const kernels = new Set(addon.kernels().map(({ name }) => name));
    const { isa, threads } = environment();
    return {
      there: true,
      findings: [
        { topic: 'addon', found: `${relative(packageRoot, path(packageRoot))} in ${packageRoot}` },
        { topic: 'kernels', found: `${kernels.size}, run for ${instructionSet(addon)}${isa ? ' (G2RPO_ISA)' : ''}` },
        { topic: 'threads', found: `${addon.threads()} of ${addon.cores()} cores${threads ? ' (G2RPO_THREADS)' : ''}` },
      ],
    };
  } catch (error) {
    return { there: false, findings: [{ topic: 'addon', found: (error as Error).message }] };
  }
}

const instructionSet = (addon: Native): string => addon.hostIsa().replace('_emulated', ', emulated');

/** Where kernels run: what the environment asks for, if that is to be had. */
function chosenDevice(): { healthy: boolean; found: string } {
  const { device } = environment();
  const asked = device === undefined ? '' : ' (G2RPO_DEVICE)';
  try {
    native();
    return { healthy: true, found: `${device ?? 'cpu'}${asked}` };
  } catch (error) {
    return { healthy: false, found: `none${asked}: ${(error as Error).message}` };
  }
}

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

function memory(): string {
  const limit = process.constrainedMemory();
  const limited = limit > 0 && limit < os.totalmem() ? `, of which this process may use ${gibibytes(limit)}` : '';
  return `${gibibytes(os.totalmem())}${limited}; ${gibibytes(os.freemem())} free`;
}

function hugePages(): string {
  const text = readIfThere('/sys/kernel/mm/transparent_hugepage/enabled');
  const setting = /\[(\w+)\]/.exec(text ?? '')?.[1];
  if (setting === undefined) return 'not known here';
  const meaning = { always: 'for all memory', madvise: 'where a program asks for them', never: 'switched off' }[
    setting
  ];
  return `transparent huge pages: ${setting}${meaning ? ` (${meaning})` : ''}`;
}

async function imageLibrary(): Promise<string> {
  try {
    const { default: sharp } = await import('sharp');
    return `sharp ${sharp.versions.sharp}, libvips ${sharp.versions.vips}`;
  } catch (error) {
    return `sharp does not load: ${(error as Error).message.trim().split('\n')[0]}`;
  }
}

function cudaTools(): Finding[] {
  const driver = /Kernel Module.*?(\d+(?:\.\d+)+)/.exec(readIfThere('/proc/driver/nvidia/version') ?? '')?.[1];
  const nvcc =
    compilerVersion('nvcc') ?? compilerVersion(join(environment().cudaHome ?? '/usr/local/cuda', 'bin/nvcc'));
  return [
    { topic: 'cuda driver', found: driver ?? 'none' },
    { topic: 'cuda compiler', found: nvcc ? `nvcc ${nvcc}` : 'no nvcc' },
  ];
}

function cudaDevice(): Finding[] {
  const library = cudaLibrary();
  if (!library.there) return [{ topic: 'cuda', found: `not available: ${library.found}` }];
  const found = { topic: 'cuda library', found: library.found };
  try {
    const { device, products } = loadAddon().describeDevice(library.path);
    return [
      { topic: 'cuda', found: device },
      found,
      { topic: 'cuBLASLt', found: products },
      { topic: 'cuDNN', found: `${whereIs('libcudnn.so.9')}; attention is computed by kernels of g2rpo's own` },
      { topic: 'NCCL', found: `${whereIs('libnccl.so.2')}; one GPU is used` },
    ];
  } catch (error) {
    return [{ topic: 'cuda', found: `not available: ${(error as Error).message}` }, found];
  }
}

/** Where the loader would look for a library that nothing loads. */
function whereIs(file: string): string {
  const folders = [...environment().libraryFolders, '/usr/local/cuda/lib64'];
  const listed = spawnSync('ldconfig', ['-p'], { encoding: 'utf8' }).stdout ?? '';
  const known = listed.split('\n').find((line) => line.trim().startsWith(`${file} `));
  return (
    folders.map((folder) => join(folder, file)).find((path) => existsSync(path)) ??
    known?.split('=> ')[1] ??
    `no ${file} where the loader looks`
  );
}

function cudaLibrary(): { there: boolean; path: string; found: string } {
  const path = deviceLibrary();
  const named = environment().cudaLibrary ? 'named by G2RPO_CUDA_LIBRARY' : 'beside the addon';
  if (existsSync(path)) return { there: true, path, found: `${path}, ${named}` };
  return { there: false, path, found: `no ${path}, ${named}; ${libraryBuilder()} builds it` };
}

function compilerVersion(command: string): string | undefined {
  const { stdout } = spawnSync(command, ['--version'], { encoding: 'utf8', timeout: 10_000 });
  return /release (\d+\.\d+)/.exec(stdout ?? '')?.[1];
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
