import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import ts from 'typescript';
import { expect, it } from 'vitest';

const lib = path.resolve(import.meta.dirname, '../../lib');

it('reward threads also start from the built .js files', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'built-'));
  try {
    const files = readdirSync(path.join(lib, 'rewards')).map((name) => `rewards/${name}`);
    for (const file of [...files, 'runtime/errors.ts', 'types.ts']) {
      const { outputText } = ts.transpileModule(readFileSync(path.join(lib, file), 'utf8'), {
        compilerOptions: {
          module: ts.ModuleKind.ESNext,
          target: ts.ScriptTarget.ES2023,
          rewriteRelativeImportExtensions: true,
          verbatimModuleSyntax: true,
        },
      });
      mkdirSync(path.dirname(path.join(folder, file)), { recursive: true });
      writeFileSync(path.join(folder, file.replace(/\.ts$/, '.js')), outputText);
    }
    symlinkSync(path.resolve(lib, '../node_modules'), path.join(folder, 'node_modules'));
    writeFileSync(path.join(folder, 'package.json'), '{"type":"module"}');
    writeFileSync(
      path.join(folder, 'mine.ts'),
      'export default (input: { response: string }) => input.response.length;',
    );
    writeFileSync(
      path.join(folder, 'main.js'),
      `import { createRewardRunner } from './rewards/index.js';
       const runner = await createRewardRunner({ file: ${JSON.stringify(path.join(folder, 'mine.ts'))} });
       const prompt = { source: { file: 'a', row: 1 } };
       console.log(JSON.stringify(await runner.score([{ response: 'x', answer: '', problemType: 'math', prompt }])));
       // no close: idle threads must not keep the process alive`,
    );
    const output = execFileSync(process.execPath, ['main.js'], { cwd: folder, encoding: 'utf8', timeout: 30_000 });
    expect(JSON.parse(output)).toEqual([{ overall: 0.9, accuracy: 1, format: 0 }]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
