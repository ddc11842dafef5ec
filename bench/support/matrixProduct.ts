/** c = a·b in TypeScript: rows of b are added to rows of c, four at a time, so that every access runs along memory. */
export function matrixProduct(a: Float32Array, b: Float32Array, m: number, n: number, k: number): () => Float32Array {
  const c = new Float32Array(m * n);
  return () => {
    c.fill(0);
    for (let p = 0; p + 3 < k; p += 4)
      for (let i = 0; i < m; i++) {
        const [at, to] = [i * k + p, i * n];
        const [x0, x1, x2, x3] = [a[at]!, a[at + 1]!, a[at + 2]!, a[at + 3]!];
        for (let j = 0, q = p * n; j < n; j++, q++)
          c[to + j] = c[to + j]! + x0 * b[q]! + x1 * b[q + n]! + x2 * b[q + 2 * n]! + x3 * b[q + 3 * n]!;
      }
    for (let p = k - (k % 4); p < k; p++)
      for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) c[i * n + j]! += a[i * k + p]! * b[p * n + j]!;
    return c;
  };
}
