import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openCheckpoint, type Checkpoint } from '../../../lib/model/qwen3vl/checkpoint.ts';
import { parseModelConfig } from '../../../lib/model/qwen3vl/config.ts';
import { initialWeights } from '../../../lib/model/qwen3vl/init.ts';
import { sideFiles, writeCheckpoint, type NamedTensor } from '../../../lib/model/qwen3vl/writeCheckpoint.ts';
import { goldenJson, goldenPath, testGolden } from '../../support/goldenModel.ts';
import {
  nanoMoe,
  syntheticTensor,
  syntheticTensors,
  writeGoldenCheckpoint,
  writeNanoMoe,
} from '../../support/syntheticCheckpoint.ts';
import { rejectionOf } from '../../support/thrown.ts';

type Hashes = Record<string, { files: Record<string, string>; tensors?: Record<string, string> }>;
const hashes = goldenJson<Hashes>('hashes.json');
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const hashOf = (dir: string, file: string) => sha256(readFileSync(join(dir, file)));

async function* allOf(checkpoint: Checkpoint): AsyncGenerator<NamedTensor> {
  for (const [name, { shape }] of checkpoint.tensors) yield { name, shape, data: await checkpoint.read(name) };
}

testGolden('hashes.json');

describe('writing', () => {
  it.each(['tiny', 'tiny-untied', 'tiny-moe', 'nano'] as const)('%s is the same after a round trip', async (name) => {
    const dir = await writeGoldenCheckpoint(name);
    const copy = `${dir}-copy`;
    await writeCheckpoint(copy, { files: await sideFiles(dir), tensors: allOf(await openCheckpoint(dir)) });
    expect(hashOf(copy, 'model.safetensors')).toBe(hashes[name]!.files['model.safetensors']);
  });

  it('keeps fp32 exactly, and the configuration says so', async () => {
    const dir = await writeGoldenCheckpoint('nano', { dtype: 'float32' });
    const checkpoint = await openCheckpoint(dir);
    expect(checkpoint.config.dtype).toBe('float32');
    const { shape, dtype } = checkpoint.tensors.get('model.visual.pos_embed.weight')!;
    expect(dtype).toBe('F32');
    const wanted = syntheticTensor('model.visual.pos_embed.weight', shape);
    expect(await checkpoint.read('model.visual.pos_embed.weight')).toEqual(wanted);
  });

  it('passes every other file and unknown keys through', async () => {
    const source = goldenPath('checkpoints/tiny');
    const dir = await writeGoldenCheckpoint('tiny');
    for (const file of readdirSync(source).filter((file) => !file.includes('.index.')))
      expect(hashOf(dir, file), file).toBe(hashOf(source, file));
    const files = await sideFiles(dir);
    const config = { ...goldenJson<object>('checkpoints/nano/config.json'), our_own: { key: [1, 2] } };
    files['config.json'] = Buffer.from(JSON.stringify(config));
    await writeCheckpoint(dir, { files, tensors: syntheticTensors('nano') });
    expect(JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8'))).toEqual(config);
  });

  it('accepts tensors in any order', async () => {
    const dir = await writeGoldenCheckpoint('nano');
    const backwards = [...syntheticTensors('nano')].reverse();
    await writeCheckpoint(dir, { files: await sideFiles(dir), tensors: backwards });
    expect(hashOf(dir, 'model.safetensors')).toBe(hashes['nano']!.files['model.safetensors']);
  });

  it('rounds to the nearest even, and widens back exactly', async () => {
    const bits = [
      0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0xff800000, 0x7f800001, 0x80000001, 0x00008000,
    ];
    const rounded = [0x3f80, 0x3f80, 0x3f82, 0x3f81, 0x7f80, 0xff80, 0x7fc0, 0x8000, 0x0000];
    const tensors = [...syntheticTensors('nano')];
    const embedding = tensors.find(({ name }) => name.endsWith('embed_tokens.weight'))!;
    new Uint32Array(embedding.data.buffer).set(bits);
    const dir = await writeGoldenCheckpoint('nano');
    await writeCheckpoint(dir, { files: await sideFiles(dir), tensors });
    const checkpoint = await openCheckpoint(dir);
    const bytes = await checkpoint.readBytes(embedding.name);
    expect(bits.map((_, i) => bytes[2 * i]! | (bytes[2 * i + 1]! << 8))).toEqual(rounded);
    const wide = new Uint32Array((await checkpoint.read(embedding.name)).buffer);
    expect([...wide.slice(0, bits.length)]).toEqual(rounded.map((half) => (half << 16) >>> 0));
  });
});

describe('experts', () => {
  const down = 'model.language_model.layers.1.mlp.experts.down_proj';
  const gateUp = 'model.language_model.layers.1.mlp.experts.gate_up_proj';
  const valuesOf = async (dir: string, ...options: Parameters<typeof openCheckpoint>[1][]) => {
    const checkpoint = await openCheckpoint(dir, ...options);
    return { shape: checkpoint.tensors.get(gateUp)!.shape, all: [await checkpoint.read(gateUp), await checkpoint.read(down)] }; // prettier-ignore
  };

  it('are the same, however they are stored, if their shapes tell', async () => {
    const released = await valuesOf(await writeNanoMoe({}, { dtype: 'float32' }));
    const turned = await writeNanoMoe({}, { dtype: 'float32', expertLayout: 'out_in' });
    expect(released.shape).toEqual([6, 48, 40]);
    expect(await valuesOf(turned)).toEqual(released);
    const header = readFileSync(join(turned, 'model.safetensors')).subarray(8, 40_000).toString();
    expect(header).toContain(`"${gateUp}":{"dtype":"F32","shape":[6,40,48]`);
    expect(header).toContain(`"${down}":{"dtype":"F32","shape":[6,48,20]`);
    // row r of an expert as it is stored is column r as it is read
    const [stored, read] = [await (await openCheckpoint(turned)).readBytes(down), released.all[1]!];
    const at = (i: number) => new DataView(stored.buffer, stored.byteOffset).getFloat32(4 * i, true);
    expect([at(0), at(1), at(20), at(48 * 20 * 3 + 20 * 7 + 5)]).toEqual([read[0], read[48], read[1], read[20 * 48 * 3 + 5 * 48 + 7]]); // prettier-ignore
  });

  it('that are square are read as the reference does, or as is said, and come back as they were', async () => {
    const square = { moe_intermediate_size: 24 }; // 2 · 24 is the hidden size
    const plain = await valuesOf(await writeNanoMoe(square, { dtype: 'float32' }));
    const inOut = await writeNanoMoe(square, { dtype: 'float32', expertLayout: 'in_out' });
    const outIn = await writeNanoMoe(square, { dtype: 'float32', expertLayout: 'out_in' });
    expect(await valuesOf(outIn)).toEqual(plain);
    expect(await valuesOf(inOut, { expertLayout: 'in_out' })).toEqual(plain);
    const { all } = await valuesOf(inOut);
    expect(all[1]).toEqual(plain.all[1]); // not square
    expect([all[0]![1], all[0]![48]]).toEqual([plain.all[0]![48], plain.all[0]![1]]);
  });

  it('that are stored in neither way are refused', async () => {
    const dir = await writeNanoMoe();
    const other = JSON.stringify(nanoMoe({ moe_intermediate_size: 16 }));
    writeFileSync(join(dir, 'config.json'), other);
    expect((await rejectionOf(openCheckpoint(dir))).message).toMatch(/gate_up_proj must be \[6, 48, 32\]; got \[6, 48, 40\]/); // prettier-ignore
  });

  it('of an untrained model are scaled by their inputs, those that write to the residual stream by depth as well', async () => {
    const config = parseModelConfig(nanoMoe(), 'config.json');
    for (const { name, data } of initialWeights(config, 7)) {
      const wanted = name === gateUp ? 48 ** -0.5 : name === down ? (20 * 2 * 3) ** -0.5 : undefined;
      if (wanted === undefined) continue;
      expect(Math.sqrt(data.reduce((s, x) => s + x * x, 0) / data.length) / wanted).toBeCloseTo(1, 1);
    }
  });
});

describe('a write that fails', () => {
  const failing: [string, (tensors: NamedTensor[]) => NamedTensor[], RegExp][] = [
    ['missing', (t) => t.slice(1), /1 of 110 tensors were not given, the first is model\.language_model\.embed_tokens/],
    ['twice', (t) => [...t, t[3]!], /k_proj.weight was given twice/],
    ['unknown', (t) => [{ ...t[0]!, name: 'lm_head.weight' }, ...t], /lm_head.weight belongs to no part/],
    ['shape', (t) => [{ ...t[0]!, shape: [48, 320] }, ...t.slice(1)], /must be \[320, 48\]; got \[48, 320\]/],
    ['size', (t) => [{ ...t[0]!, data: new Float32Array(3) }, ...t.slice(1)], /must have 15360 elements; got 3/],
  ];
  it.each(failing)('%s: leaves the previous checkpoint and nothing else', async (_, change, message) => {
    const dir = await writeGoldenCheckpoint('nano');
    const tensors = change([...syntheticTensors('nano')]);
    const error = await rejectionOf(writeCheckpoint(dir, { files: await sideFiles(dir), tensors }));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toMatch(message);
    expect(hashOf(dir, 'model.safetensors')).toBe(hashes['nano']!.files['model.safetensors']);
    expect(readdirSync(dirname(dir))).toEqual(['nano']);
  });

  it('does not replace a folder that holds something else', async () => {
    const dir = await writeGoldenCheckpoint('nano');
    const other = join(dirname(dir), 'other');
    mkdirSync(other);
    writeFileSync(join(other, 'thesis.txt'), 'precious');
    const write = writeCheckpoint(other, { files: await sideFiles(dir), tensors: syntheticTensors('nano') });
    expect((await rejectionOf(write)).message).toMatch(/holds something else than a checkpoint/);
    expect(readFileSync(join(other, 'thesis.txt'), 'utf8')).toBe('precious');
  });

  it('reports what the file system refuses as IO', async () => {
    const dir = await writeGoldenCheckpoint('nano');
    const below = join(dir, 'config.json', 'model'); // a file is no folder
    const error = await rejectionOf(writeCheckpoint(below, { files: await sideFiles(dir), tensors: [] }));
    expect(error.code).toBe('IO');
    expect(error.message).toContain(below);
  });

  it('survives a full disk, here a limit on the size of files', async () => {
    const dir = await writeGoldenCheckpoint('nano');
    const command = `ulimit -f 50; exec "$0" --import jiti/register "$@"`; // 50 KiB, and the files have 100
    const script = fileURLToPath(new URL('../../support/keepWriting.ts', import.meta.url));
    const { status, stderr } = spawnSync('bash', ['-c', command, process.execPath, script, dir], { encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toMatch(/checkpoint not written: EFBIG/);
    expect(hashOf(dir, 'model.safetensors')).toBe(hashes['nano']!.files['model.safetensors']);
    expect(readdirSync(dirname(dir))).toEqual(['nano']);
  });

  it('survives kill -9 at any moment', { timeout: 30_000 }, async () => {
    const dir = await writeGoldenCheckpoint('nano');
    const script = fileURLToPath(new URL('../../support/keepWriting.ts', import.meta.url));
    for (const delayMs of [3, 11, 17, 29]) {
      const child = spawn(process.execPath, ['--import', 'jiti/register', script, dir], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await new Promise((resolve) => child.stdout.once('data', resolve));
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
      const checkpoint = await openCheckpoint(dir);
      const rounds = new Set<number>();
      for (const name of checkpoint.tensors.keys()) for (const value of await checkpoint.read(name)) rounds.add(value);
      expect(rounds.size, 'one round only').toBe(1);
    }
    await writeCheckpoint(dir, { files: await sideFiles(dir), tensors: syntheticTensors('nano') });
    expect(readdirSync(dirname(dir))).toEqual(['nano']);
  });

  it('is undone where the writer died between the two renames', async () => {
    const dir = await writeGoldenCheckpoint('nano');
    renameSync(dir, `${dir}.previous`);
    const checkpoint = await openCheckpoint(dir);
    expect(checkpoint.dir).toBe(`${dir}.previous`);
    const failed = writeCheckpoint(dir, { files: await sideFiles(checkpoint.dir), tensors: [] });
    expect((await rejectionOf(failed)).message).toMatch(/110 of 110 tensors/);
    expect((await openCheckpoint(dir)).dir).toBe(dir);
  });
});

describe('initial weights', () => {
  it('make a checkpoint from a configuration and tokenizer files alone', async () => {
    const { config } = await openCheckpoint(await writeGoldenCheckpoint('tiny'));
    const dir = join(dirname(await writeGoldenCheckpoint('nano')), 'fresh');
    const files = { 'config.json': JSON.stringify(goldenJson('checkpoints/tiny/config.json')), 'merges.txt': 'x' };
    await writeCheckpoint(dir, { files, tensors: initialWeights(config, 7), dtype: 'float32' });
    const checkpoint = await openCheckpoint(dir);
    expect(readFileSync(join(dir, 'merges.txt'), 'utf8')).toBe('x');
    const spread = async (name: string) => {
      const values = await checkpoint.read(name);
      return Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
    };
    const text = 'model.language_model';
    const wanted = {
      [`${text}.embed_tokens.weight`]: 0.05,
      [`${text}.layers.0.self_attn.q_proj.weight`]: 128 ** -0.5,
      [`${text}.layers.3.self_attn.o_proj.weight`]: (256 * 8) ** -0.5,
      [`${text}.layers.1.mlp.down_proj.weight`]: (384 * 8) ** -0.5,
      [`${text}.layers.1.self_attn.k_norm.weight`]: 1,
      'model.visual.pos_embed.weight': 0.3,
      'model.visual.patch_embed.proj.weight': 1536 ** -0.5,
      'model.visual.blocks.0.attn.proj.weight': (96 * 12) ** -0.5,
      'model.visual.blocks.5.mlp.linear_fc2.weight': (256 * 12) ** -0.5,
      'model.visual.deepstack_merger_list.2.linear_fc2.weight': 384 ** -0.5,
      'model.visual.merger.norm.bias': 0,
    };
    for (const [name, deviation] of Object.entries(wanted))
      expect((await spread(name)) / (deviation || 1), name).toBeCloseTo(deviation ? 1 : 0, 1); // ≥ 9,216 samples: ± 1 %
  });

  it('depend on the seed and on nothing else', async () => {
    const { config } = await openCheckpoint(await writeGoldenCheckpoint('nano'));
    const digest = (seed: number) =>
      [...initialWeights(config, seed)].map(({ data }) => sha256(new Uint8Array(data.buffer))).join();
    expect(digest(1)).toBe(digest(1));
    expect(digest(1)).not.toBe(digest(2));
  });
});

describe('damage', () => {
  interface Header {
    [name: string]: { dtype: unknown; shape: unknown; data_offsets: unknown };
  }
  const Q = 'model.language_model.layers.0.self_attn.q_proj.weight';
  const K = 'model.language_model.layers.0.self_attn.k_proj.weight';
  let pristine: string | undefined;

  /** A nano checkpoint whose weight file went through `change`. */
  async function damaged(change: (file: Buffer, dir: string) => Buffer | undefined): Promise<string> {
    pristine ??= await writeGoldenCheckpoint('nano');
    const dir = join(dirname(pristine), `damaged-${Math.random()}`);
    cpSync(pristine, dir, { recursive: true });
    const path = join(dir, 'model.safetensors');
    const bytes = change(readFileSync(path), dir);
    if (bytes) writeFileSync(path, bytes);
    return dir;
  }
  const withHeaderText = (change: (json: string) => string) => (file: Buffer) => {
    const length = Number(file.readBigUInt64LE());
    const text = Buffer.from(
      change(
        file
          .subarray(8, 8 + length)
          .toString()
          .trimEnd(),
      ),
    );
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(text.length));
    return Buffer.concat([prefix, text, file.subarray(8 + length)]);
  };
  const withHeader = (change: (header: Header) => void) =>
    withHeaderText((json) => {
      const header = JSON.parse(json) as Header;
      change(header);
      return JSON.stringify(header);
    });

  it.each<[string, (file: Buffer, dir: string) => Buffer | undefined, RegExp]>([
    ['empty', () => Buffer.alloc(0), /model\.safetensors: must begin with an 8-byte header length; the file has 0/],
    ['random bytes', () => Buffer.alloc(1000, 0xa5), /header length is \d+, but only 992 bytes follow/],
    ['a page of text', () => Buffer.from('<html>not found</html>'), /header length/],
    ['cut in the header', (file) => file.subarray(0, 500), /but only 492 bytes follow/],
    [
      'cut in the data',
      (file) => file.subarray(0, file.length - 1),
      /deepstack_merger_list.*: ends at byte .* truncated/,
    ],
    ['bytes appended', (file) => Buffer.concat([file, Buffer.alloc(3)]), /3 bytes follow the last tensor/],
    ['no JSON', withHeaderText((json) => json.replace('{', '[')), /header is not JSON/],
    ['an array', withHeaderText(() => '[]'), /header must be a JSON object; got \[\]/],
    ['a key twice', withHeaderText((json) => json.replace('{', `{"${Q}":{},`)), /q_proj.weight: appears twice/],
    ['a dtype', withHeader((h) => (h[Q]!.dtype = 'F8_E4M3')), /q_proj.*dtype must be BF16, F16 or F32; got "F8_E4M3"/],
    ['a prototype as dtype', withHeader((h) => (h[Q]!.dtype = 'toString')), /dtype must be/],
    ['a negative size', withHeader((h) => (h[Q]!.shape = [-64, 48])), /shape must be a list of sizes; got \[-64,48\]/],
    ['a shape of words', withHeader((h) => (h[Q]!.shape = 'wide')), /shape must be a list/],
    ['half a number', withHeader((h) => (h[Q]!.shape = [1.5])), /shape must be a list/],
    [
      'offsets reversed',
      withHeader((h) => (h[Q]!.data_offsets = [9, 3])),
      /data_offsets must be \[begin, end\]; got \[9,3\]/,
    ],
    [
      'offsets of another length',
      withHeader((h) => (h[Q]!.data_offsets = [0, 10])),
      /needs 6144 bytes; data_offsets span 10/,
    ],
    ['overlap', withHeader((h) => (h[K]!.data_offsets = [30816, 30816 + 3072])), /overlaps the tensor before it by/],
    ['no entry', withHeader((h) => (h[Q] = null as never)), /q_proj.*must be an object with dtype/],
    ['a wrong shape', withHeader((h) => (h[Q]!.shape = [48, 64])), /q_proj.weight must be \[64, 48\]; got \[48, 64\]/],
    [
      'a renamed tensor',
      withHeaderText((json) => json.replace(Q, 'stray.weight')),
      /q_proj.weight \[64, 48\] is missing; model.safetensors: stray.weight is stored, but belongs to no part/,
    ],
    [
      'a head for a tied model',
      withHeader((h) => (h['lm_head.weight'] = { dtype: 'F32', shape: [0], data_offsets: [0, 0] })),
      /lm_head.weight is stored, although tie_word_embeddings is true/,
    ],
    [
      'no head for an untied model',
      (_, dir) => {
        const json = { ...goldenJson<object>('checkpoints/nano/config.json'), tie_word_embeddings: false };
        writeFileSync(join(dir, 'config.json'), JSON.stringify(json));
        return undefined;
      },
      /lm_head.weight \[320, 48\] is missing/,
    ],
    [
      'a config that is no JSON',
      (_, dir) => void writeFileSync(join(dir, 'config.json'), '{'),
      /config.json: not JSON/,
    ],
    ['a gap', withHeader((h) => (h[K] = undefined as never)), /leaves a gap of 3072 bytes before it/],
  ])('%s', async (_, change, message) => {
    const error = await rejectionOf(openCheckpoint(await damaged(change)));
    expect(error.code).toBe('INVALID_CHECKPOINT');
    expect(error.message).toMatch(message);
  });

  it('no folder, no weights, no configuration', async () => {
    expect((await rejectionOf(openCheckpoint('/nowhere/at/all'))).message).toMatch(/no such folder/);
    const golden = await rejectionOf(openCheckpoint(goldenPath('checkpoints/tiny')));
    expect(golden.code).toBe('INVALID_CHECKPOINT');
    expect(golden.message).toMatch(/neither model.safetensors nor model.safetensors.index.json is there/);
  });

  it('any single bit of the header flipped: an error of ours, or a checkpoint', async () => {
    const whole = readFileSync(join(pristine ?? (await writeGoldenCheckpoint('nano')), 'model.safetensors'));
    const outcomes = new Set<string>();
    for (let at = 0; at < 3000; at += 37) {
      const dir = await damaged((file) => {
        file[at]! ^= 1 << (at % 8);
        return file;
      });
      outcomes.add(
        await openCheckpoint(dir).then(
          () => 'opened',
          (error: { code?: string }) => error.code ?? String(error),
        ),
      );
    }
    expect(whole.length).toBeGreaterThan(3000);
    expect([...outcomes].filter((outcome) => outcome !== 'opened')).toEqual(['INVALID_CHECKPOINT']);
  });

  describe('of an index', () => {
    const index = 'model.safetensors.index.json';
    const damagedIndex = async (change: (map: Record<string, unknown>, dir: string) => unknown) => {
      const dir = await writeGoldenCheckpoint('nano', { maxShardBytes: 2e5 });
      const json = JSON.parse(readFileSync(join(dir, index), 'utf8')) as { weight_map: Record<string, unknown> };
      change(json.weight_map, dir);
      writeFileSync(join(dir, index), JSON.stringify(json));
      return dir;
    };
    it.each<[string, (map: Record<string, unknown>, dir: string) => unknown, RegExp]>([
      ['a missing shard', (map) => (map[Q] = 'model-00009-of-00009.safetensors'), /model-00009.*no such file/],
      [
        'a path out of the folder',
        (map) => (map[Q] = '../x.safetensors'),
        /must name a .safetensors file of this folder/,
      ],
      ['the wrong shard', (map) => (map[Q] = 'model-00002-of-00002.safetensors'), /must be in model-00002.* it is not/],
      [
        'a tensor left out',
        (map) => (map[Q] = undefined),
        /q_proj.weight is in model-00001.*weight_map says undefined/,
      ],
      ['no file name', (map) => (map[Q] = 7), /got 7/],
    ])('%s', async (_, change, message) => {
      const error = await rejectionOf(openCheckpoint(await damagedIndex(change)));
      expect(error.code).toBe('INVALID_CHECKPOINT');
      expect(error.message).toMatch(message);
    });
  });

  it('files replaced after opening are noticed', async () => {
    const dir = await damaged(() => undefined);
    const checkpoint = await openCheckpoint(dir);
    await writeCheckpoint(dir, { files: await sideFiles(dir), tensors: syntheticTensors('nano') });
    const error = await rejectionOf(checkpoint.read(Q));
    expect(error.message).toMatch(/was replaced after the checkpoint was opened/);
    expect(existsSync(`${dir}.previous`)).toBe(false);
  });

  it('an unknown name is the fault of the caller', async () => {
    const checkpoint = await openCheckpoint(await damaged(() => undefined));
    await expect(async () => checkpoint.read('nope')).rejects.toThrow(/no tensor is called "nope"/);
  });
});
