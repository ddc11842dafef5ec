// Policies in bf16 by the instruction set that multiplies bf16 by bf16: what is asked of them where products round, and of sampling beside others.
import { it } from 'vitest';
import { chooseAvx512Bf16 } from '../../support/onCpu.ts';

const missing = chooseAvx512Bf16();
if (missing === undefined) {
  // they look at the instruction set as they are loaded
  await import('./policyBf16.test.ts');
  await import('./decodeBf16.test.ts');
  await import('./engine.test.ts');
} else {
  it('policies in bf16 by avx512bf16', ({ skip }) => skip(missing));
}
