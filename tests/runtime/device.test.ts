import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { examineMachine } from '../../lib/runtime/machine.ts';
import { native, packageRoot } from '../../lib/runtime/native.ts';
import { zeros } from '../../lib/runtime/tensor.ts';
import { emulatedCublaslt, emulatedLibrary, useEmulatedDevice } from '../support/emulatedDevice.ts';
import { thrownBy } from '../support/thrown.ts';

const missing = useEmulatedDevice();
const dir = mkdtempSync(join(tmpdir(), 'g2rpo-device-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
afterEach(() => void vi.unstubAllEnvs());

/** What is refused where the environment says so; another one may still be chosen afterwards. */
function refused(environment: Record<string, string>, message: RegExp): void {
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  const error = thrownBy(() => native());
  expect(error.code).toBe('BACKEND_UNAVAILABLE');
  expect(error.message).toMatch(message);
}

describe('a device that is not to be had', () => {
  it.each(['neuron', 'gpu'])('G2RPO_DEVICE=%s', (device) =>
    refused({ G2RPO_DEVICE: device }, new RegExp(`G2RPO_DEVICE must be cpu or cuda; got ${device}`)),
  );

  it('a library that is not there', () => {
    const library = join(dir, 'none.so');
    refused(
      { G2RPO_DEVICE: 'cuda', G2RPO_CUDA_LIBRARY: library },
      /none\.so is not there; `npm run build:cuda` builds/,
    );
  });

  it('a file that is no library', () => {
    const library = join(dir, 'text.so');
    writeFileSync(library, 'text');
    refused({ G2RPO_DEVICE: 'cuda', G2RPO_CUDA_LIBRARY: library }, /does not load: .*text\.so/);
  });
});

describe.skipIf(missing)(`with a library${missing ? ` (left out: ${missing})` : ''}`, () => {
  it('of something else', () => refused({ G2RPO_CUDA_LIBRARY: emulatedCublaslt }, /is no library of a device/));

  it('that was built from other sources', () => {
    const library = join(dir, 'other.so');
    const bytes = readFileSync(emulatedLibrary, 'latin1');
    writeFileSync(library, bytes.replace(/\b[0-9a-f]{64}\b/g, '0'.repeat(64)), 'latin1');
    refused({ G2RPO_CUDA_LIBRARY: library }, /was built from other sources than the addon; build it again/);
  });

  it('and a cuBLASLt that is none', () => {
    const file = join(dir, 'cublaslt.txt');
    writeFileSync(file, 'text');
    // what was found once stays so: in a process of its own
    const { stderr } = spawnSync(
      process.execPath,
      [
        '-e',
        'require(process.argv[1]).describeDevice(process.argv[2])',
        join(packageRoot, 'build/Release/g2rpo.node'),
        emulatedLibrary,
      ],
      { encoding: 'utf8', env: { ...process.env, G2RPO_CUBLASLT: file } },
    );
    expect(stderr).toMatch(/cuda: the library that G2RPO_CUBLASLT names: .*cublaslt\.txt/);
  });

  it('and no driver', () => refused({ G2RPO_EMULATED_DEVICES: '-1' }, /cuda: no driver of NVIDIA is installed/));

  it('and no device', () =>
    refused({ G2RPO_EMULATED_DEVICES: '0' }, /cuda: no device: no CUDA-capable device is detected/));

  it('and a device whose blocks have too little shared memory', () =>
    refused(
      { G2RPO_EMULATED_SHARED_BYTES: '101376' },
      /cuda: emulated on the CPU, compute capability 9\.0: a block has 101376 bytes of shared memory, and kernels of attention need 165376/,
    ));

  it('is told by the doctor, with what multiplies matrices', async () => {
    const { findings } = await examineMachine();
    const found = Object.fromEntries(findings.map((each) => [each.topic, each.found]));
    expect(found.cuda).toMatch(/^emulated on the CPU/);
    expect(found['cuda library']).toBe(`${emulatedLibrary}, named by G2RPO_CUDA_LIBRARY`);
    expect(found.cuBLASLt).toMatch(/libemulated_cublaslt\.so, version 13\.0\.0$/);
    expect(found.cuDNN).toMatch(/libcudnn\.so\.9.*; attention is computed by kernels of g2rpo's own$/);
    expect(found.NCCL).toMatch(/libnccl\.so\.2.*; one GPU is used$/);
    expect(found.device).toBe('cuda (G2RPO_DEVICE)');
  });

  it('that finds no device, the doctor says why', async () => {
    vi.stubEnv('G2RPO_EMULATED_DEVICES', '0');
    const { findings } = await examineMachine();
    const { found } = findings.find(({ topic }) => topic === 'cuda')!;
    expect(found).toBe('not available: cuda: no device: no CUDA-capable device is detected');
  });

  it('what comes then is computed on the device', async () => {
    using x = zeros('f32', [3]);
    expect(await x.read()).toEqual(new Float32Array(3));
    expect(
      native()
        .kernels()
        .some(({ backend }) => backend === 'cuda'),
    ).toBe(true);
  });
});
