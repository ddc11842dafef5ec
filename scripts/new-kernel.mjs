// npm run new:kernel <op>: writes the five files of an op and its line in lib/index.ts. What they compute, y = scale · x, is
// there to be replaced; until then it builds, and its test and bench run.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

function fail(message) {
  console.error(`g2rpo: ${message}`);
  process.exit(2);
}

const [given, ...surplus] = process.argv.slice(2);
if (given === '--help' || given === '-h') {
  console.log(
    'npm run new:kernel <op>    writes the files of an op; <op> is like gaussian_advantage or gaussianAdvantage',
  );
  process.exit(0);
}
if (!given || surplus.length > 0) fail('new:kernel wants one name, like gaussian_advantage or gaussianAdvantage');
const op = given.replaceAll(/(?<=[a-z0-9])[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
if (!/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(op))
  fail(`a kernel's name must be of letters, digits and single underscores; got ${given}`);
const name = op.replaceAll(/_(\w)/g, (_, letter) => letter.toUpperCase());
const type = name[0].toUpperCase() + name.slice(1);

const files = {
  [`lib/kernels/${name}.ts`]: `import { defineKernel, number, real } from './defineKernel.ts';

/**
 * The argument, multiplied.
 *
 *   y = scale · x
 */
export const ${name} = defineKernel({
  name: '${op}',
  inputs: { x: real('N') },
  scalars: { scale: number(1) },
  outputs: { y: real('N') },
  reference({ x, scale }, { y }) {
    for (let i = 0; i < x.length; i++) y[i] = scale * x[i]!;
  },
  work: ({ N }) => ({ bytes: 8 * N!, flops: N! }),
});
`,
  [`csrc/ops/${op}/op.h`]: `#pragma once
#include "../../core/kernel.h"

namespace g2rpo {

/** y = scale · x. */
template <class T> struct ${type} {
  using Real = T;
  static constexpr auto kName = "${op}";
  static constexpr auto kSignature = "x {f32|f64}[N], scale f64 -> y {f32|f64}[N]";
  View<const T> x;
  double scale;
  View<T> y;
  G2_INLINE static ${type} read(KernelArgs a) { return {a.next(), a.next(), a.next()}; }
};

}  // namespace g2rpo
`,
  [`csrc/ops/${op}/cpu.cpp`]: `// hot
#include "op.h"

#include "../../backends/cpu/lanes.h"

namespace g2rpo {

using namespace simd;

KERNEL_REAL(cpu, ${type}) {
  const Vec<T> scale = splat(static_cast<T>(op.scale));
  for_elements<T>(stream, op.y.size, {op.x.data}, {op.y.data}, [&](size_t i, auto at) G2_INLINED {
    at.store(op.y.data + i, scale * at.load(op.x.data + i));
  });
}

}  // namespace g2rpo
`,
  [`tests/kernels/${name}.test.ts`]: `import { ${name} } from '../../lib/kernels/${name}.ts';
import { sameForAnyThreads } from '../support/sameForAnyThreads.ts';
import { randoms, testKernel } from '../support/testKernel.ts';

testKernel(${name}, {
  cases: {
    'equals and signs': { x: [1, 1, -1, 0, -0], scale: -2 },
    none: { x: [] },
    one: { x: [3], scale: 0.5 },
    'an odd size': { x: randoms(1, 4001), scale: 3 },
  },
  tolerance: { f32: 6e-8, f64: 2e-16 }, // one multiplication: half a unit in the last place
});
sameForAnyThreads(${name}, { x: randoms(2, 100_001), scale: 3 });
`,
  [`bench/kernels/${name}.bench.ts`]: `import { ${name} } from '../../lib/kernels/${name}.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

export default () =>
  benchKernel(${name}, {
    sizes: [{ N: 1000 }, { N: 1_000_000 }],
    generate: ({ N }) => ({ x: Float32Array.from(randoms(1, N!)), scale: 3 }),
  });
`,
};

const index = join(root, 'lib/index.ts');
const present = Object.keys(files).filter((file) => existsSync(join(root, file)));
if (present.length > 0) fail(`${present.join(', ')} ${present.length > 1 ? 'are' : 'is'} there already`);

const lines = readFileSync(index, 'utf8').split('\n');
const kernelOf = (line) => /^export \{.*\} from '\.\/kernels\/(\w+)\.ts';$/.exec(line)?.[1];
const later = lines.findIndex((line) => (kernelOf(line) ?? '') > name);
const after = lines.findLastIndex((line) => kernelOf(line)) + 1;
lines.splice(later === -1 ? after : later, 0, `export { ${name} } from './kernels/${name}.ts';`);

for (const [file, text] of Object.entries(files)) {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
  console.log(`wrote ${file}`);
}
writeFileSync(index, lines.join('\n'));
console.log(`added ${name} to lib/index.ts\n\nnext: npm test -- ${name}`);
