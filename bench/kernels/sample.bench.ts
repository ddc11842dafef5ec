import { sample } from '../../lib/kernels/sample.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel } from '../support/benchKernel.ts';

/** Temperature alone, the usual case of rollouts. */
export default () =>
  benchKernel(sample, {
    sizes: [
      { B: 64, V: 384 },
      { B: 64, V: 1024 },
      { B: 8, V: 151_936 },
      { B: 128, V: 151_936 },
    ],
    generate: ({ B, V }) => ({
      logits: Float32Array.from(randoms(1, B!, V!), (x) => 4 * x),
      keys: Int32Array.from({ length: 4 * B! }, (_, i) => i),
    }),
    peers: [
      {
        name: 'TypeScript (one random number a row, by inversion)',
        prepare({ logits }, { B, V }) {
          const z = logits as Float32Array;
          const [e, tokens, entropy] = [new Float64Array(V!), new Int32Array(B!), new Float64Array(B!)];
          return () => {
            for (let b = 0; b < B!; b++) {
              let largest = -Infinity;
              for (let v = 0; v < V!; v++) largest = Math.max(largest, z[b * V! + v]!);
              let sum = 0;
              let product = 0;
              for (let v = 0; v < V!; v++) {
                const x = z[b * V! + v]! - largest;
                sum += e[v] = Math.exp(x);
                product += e[v]! * x;
              }
              let left = Math.random() * sum;
              let token = 0;
              while (token + 1 < V! && (left -= e[token]!) > 0) token++;
              tokens[b] = token;
              entropy[b] = Math.log(sum) - product / sum;
            }
          };
        },
      },
    ],
  });
