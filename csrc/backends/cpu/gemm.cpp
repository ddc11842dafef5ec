// hot
// C = A·B in the manner of Goto: B is packed once into panels as wide as the micro-kernel, tiles of rows of A are packed by
// the thread that computes them, and the micro-kernel keeps a block of C in registers.
//
// Every element of C is one chain of multiply-adds over k, cut into chunks that depend on K alone. So its bits depend neither
// on the number of threads nor on how many other rows and columns there are.
#include "../../core/arena.h"
#include "gemm.h"
#include "simd.h"

namespace g2rpo {

namespace {

using simd::lanes;
using simd::load;
using simd::load_n;
using simd::splat;
using simd::store;
using simd::store_n;
using simd::Vec;

// the micro-kernel's block of C: rows × vectors, as many accumulators as leave registers for a row of B and an element of A
#if defined(__AVX512F__)
constexpr int kRows = 14, kVectors = 2;
#elif defined(__AVX2__)
constexpr int kRows = 6, kVectors = 2;
#elif defined(__aarch64__)
constexpr int kRows = 8, kVectors = 3;
#else
constexpr int kRows = 4, kVectors = 2;
#endif
template <class T> constexpr size_t kCols = size_t{kVectors} * lanes<T>;

constexpr size_t kDepth = 256;                   // longest chunk of k: a panel of B stays in the first-level cache
constexpr size_t kRowStride = kDepth + 16;       // of packed rows of A; not a power of two, so that rows meet in no cache set
constexpr size_t kTileRows = kRows * (224 / kRows);
constexpr size_t kDeepChunks = 16;               // chunks of k packed together
constexpr size_t kPackedBytes = size_t{4} << 20;  // of B
constexpr size_t kTileWork = size_t{1} << 20;    // multiply-adds that are worth waking a thread for
constexpr size_t kTiles = 32;                    // tiles wanted of a large product

G2_INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }
G2_INLINE size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
G2_INLINE size_t round_up(size_t a, size_t b) { return ceil_div(a, b) * b; }

/** Where a block of C goes and what is added to it. */
template <class T> struct Block {
  T* c;
  size_t c_row;
  size_t rows, cols;
  bool add;           // to what C holds
  const T* bias;      // or null
  const T* residual;  // or null
};

/** A block of C of at most R rows and V vectors; A is packed with rows next to each other (ByColumn) or with rows kRowStride apart. */
template <class T, int R, int V, bool ByColumn> void micro_kernel(const T* a, const T* b, size_t depth, const Block<T>& out) {
  constexpr size_t L = lanes<T>;
  Vec<T> acc[R][V] = {};
  for (size_t k = 0; k < depth; k++) {
    Vec<T> row[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) row[v] = load(b + v * L);
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) {
      const Vec<T> x = splat(a[ByColumn ? i : i * kRowStride]);
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) acc[i][v] = simd::fma(x, row[v], acc[i][v]);
    }
    a += ByColumn ? kRows : 1;
    b += kCols<T>;
  }
  const bool full = out.cols == V * L;
#pragma GCC unroll 16
  for (int i = 0; i < R; i++) {
    if (static_cast<size_t>(i) >= out.rows) break;
    T* c = out.c + i * out.c_row;
    const T* residual = out.residual ? out.residual + i * out.c_row : nullptr;
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      Vec<T> y = acc[i][v];
      const size_t at = v * L;
      if (full) {
        if (out.add) y += load<T>(c + at);
        if (out.bias) y += load<T>(out.bias + at);
        if (residual) y += load<T>(residual + at);
        store(c + at, y);
      } else if (at < out.cols) {
        const size_t n = least(L, out.cols - at);
        if (out.add) y += load_n<T>(c + at, n);
        if (out.bias) y += load_n<T>(out.bias + at, n);
        if (residual) y += load_n<T>(residual + at, n);
        store_n(c + at, y, n);
      }
    }
  }
}

/** The smallest micro-kernel that covers the block; heights go by two. */
template <class T, bool ByColumn, int V = kVectors, int R = kRows>
G2_INLINE void compute_block(const T* a, const T* b, size_t depth, const Block<T>& out) {
  if constexpr (V > 1 && R == kRows)
    if (out.cols <= (V - 1) * size_t{lanes<T>}) return compute_block<T, ByColumn, V - 1, R>(a, b, depth, out);
  if constexpr (R > 2)
    if (out.rows <= R - 2) return compute_block<T, ByColumn, V, R - 2>(a, b, depth, out);
  micro_kernel<T, R, V, ByColumn>(a, b, depth, out);
}

/** Rows of A behind each other, kRowStride apart; one row of zeros if their number is odd. */
template <class T> void pack_rows(const T* a, size_t row, size_t col, size_t rows, size_t depth, T* to) {
  constexpr size_t L = lanes<T>;
  for (size_t i = 0; i < rows; i++) {
    const T* from = a + i * row;
    T* out = to + i * kRowStride;
    size_t k = 0;
    if (col == 1) {
      for (; k + L <= depth; k += L) store(out + k, load<T>(from + k));
      for (; k < depth; k++) out[k] = from[k];
    } else {
      for (; k < depth; k++) out[k] = from[k * col];
    }
  }
  if (rows % 2)
    for (size_t k = 0; k < depth; k++) to[rows * kRowStride + k] = 0;
}

/** Columns of A behind each other, kRows of their elements in each; for A whose rows are neighbours in memory. */
template <class T> void pack_columns(const T* a, size_t col, size_t rows, size_t depth, T* to) {
  for (size_t i = 0; i < rows; i += kRows, to += kRows * kDepth) {
    const size_t n = least(kRows, rows - i);
    const T* from = a + i;
    for (size_t k = 0; k < depth; k++, from += col) {
      T* out = to + k * kRows;
      if (n == kRows) {
        __builtin_memcpy(out, from, kRows * sizeof(T));
      } else {
        for (size_t r = 0; r < kRows; r++) out[r] = r < n ? from[r] : T(0);
      }
    }
  }
}

/** a₀ b₀ a₁ b₁ …: the lower (half 0) or the upper (half 1) part of two vectors, element by element. */
template <class T> G2_INLINE Vec<T> interleave(Vec<T> a, Vec<T> b, int half) {
  constexpr int L = lanes<T>;
  simd::Mask<T> order;
#pragma GCC unroll 16
  for (int i = 0; i < L; i++) order[i] = half * (L / 2) + i / 2 + (i % 2) * L;
  return __builtin_shuffle(a, b, order);
}

/** Transposes as many vectors as a vector has lanes. */
template <class T> G2_INLINE void transpose(Vec<T>* x) {
  constexpr int L = lanes<T>;
  Vec<T> y[L];
#pragma GCC unroll 4
  for (int step = 1; step < L; step *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < L / 2; i++) {
      y[2 * i] = interleave<T>(x[i], x[i + L / 2], 0);
      y[2 * i + 1] = interleave<T>(x[i], x[i + L / 2], 1);
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) x[i] = y[i];
  }
}

/** A panel of B: `depth` rows of kCols elements, zeros behind the last column. */
template <class T> void pack_panel(const T* b, size_t row, size_t col, size_t depth, size_t cols, T* to) {
  constexpr size_t L = lanes<T>, W = kCols<T>;
  if (col == 1 && cols == W) {
    for (size_t k = 0; k < depth; k++) __builtin_memcpy(to + k * W, b + k * row, W * sizeof(T));
    return;
  }
  if (row == 1) {
    for (size_t j = 0; j < W; j += L) {
      const size_t n = j < cols ? least(L, cols - j) : 0;
      for (size_t k = 0; k < depth; k += L) {
        const size_t m = least(L, depth - k);
        Vec<T> x[L];
        if (n == L && m == L) {
#pragma GCC unroll 16
          for (size_t i = 0; i < L; i++) x[i] = load<T>(b + (j + i) * col + k);
        } else {
          for (size_t i = 0; i < L; i++) x[i] = i < n ? load_n<T>(b + (j + i) * col + k, m) : Vec<T>{};
        }
        transpose<T>(x);
        if (m == L) {
#pragma GCC unroll 16
          for (size_t i = 0; i < L; i++) store(to + (k + i) * W + j, x[i]);
        } else {
          for (size_t i = 0; i < m; i++) store(to + (k + i) * W + j, x[i]);
        }
      }
    }
    return;
  }
  for (size_t k = 0; k < depth; k++)
    for (size_t j = 0; j < W; j++) to[k * W + j] = j < cols ? b[k * row + j * col] : T(0);
}

/** Items on all threads, or one after the other if there is no pool (inside the item of another op). */
template <class F> G2_INLINE void each(Stream& stream, size_t n, F&& f) {
  if (stream.pool && n > 1) return parallel_for(stream, n, f);
  for (size_t i = 0; i < n; i++) f(i);
}

/** Part of B: k in [k0, k0 + depth) in chunks, j in [j0, j0 + cols). */
struct Part {
  size_t k0, depth, chunk;
  size_t j0, cols;
};

template <class T> void pack_b(Stream& stream, const Gemm<T>& op, const Part& part, T* packed) {
  constexpr size_t W = kCols<T>;
  const size_t panels = ceil_div(part.cols, W);
  const auto pack = [&](size_t p) {
    const size_t j = p * W;
    for (size_t k = 0; k < part.depth; k += part.chunk) {
      const size_t depth = least(part.chunk, part.depth - k);
      pack_panel(op.b.data + (part.k0 + k) * op.b_row + (part.j0 + j) * op.b_col, op.b_row, op.b_col, depth,
                 least(W, part.cols - j), packed + k * panels * W + p * depth * W);
    }
  };
  if (part.depth * part.cols < kTileWork / 16) {
    for (size_t p = 0; p < panels; p++) pack(p);
  } else {
    each(stream, panels, pack);
  }
}

/** The tile [i0, i0 + rows) × panels [p0, p1) of C, over one part of B. */
template <class T, bool ByColumn>
void compute_tile(const Gemm<T>& op, const Part& part, const T* packed, size_t i0, size_t rows, size_t p0, size_t p1) {
  constexpr size_t W = kCols<T>;
  const size_t panels = ceil_div(part.cols, W);
  Scratch scratch;
  T* a = scratch.take<T>((round_up(rows, kRows) + 1) * kRowStride);
  for (size_t k = 0; k < part.depth || k == 0; k += part.chunk) {
    const size_t depth = least(part.chunk, part.depth - k);
    const T* from = op.a.data + i0 * op.a_row + (part.k0 + k) * op.a_col;
    if constexpr (ByColumn) pack_columns(from, op.a_col, rows, depth, a);
    else pack_rows(from, op.a_row, op.a_col, rows, depth, a);
    const bool first = part.k0 + k == 0;
    for (size_t p = p0; p < p1; p++) {
      const size_t j = part.j0 + p * W;
      const T* b = packed + k * panels * W + p * depth * W;
      for (size_t i = 0; i < rows; i += kRows) {
        const size_t at = (i0 + i) * op.c_row + j;
        compute_block<T, ByColumn>(a + i * (ByColumn ? kDepth : kRowStride), b, depth,
                                   {op.c.data + at, op.c_row, least(kRows, rows - i), least(W, part.cols - p * W),
                                    op.accumulate || !first, first && op.bias ? op.bias + j : nullptr,
                                    first && op.residual ? op.residual + at : nullptr});
      }
    }
  }
}

/** Rows and panels of a tile: halved while the product has too few tiles and each has work enough for two. */
struct TileShape {
  size_t rows, panels;
};
G2_INLINE TileShape tile_shape(size_t m, size_t panels, size_t work_per_block) {
  TileShape t{round_up(ceil_div(m, ceil_div(m, kTileRows)), kRows), panels};
  while (ceil_div(m, t.rows) * ceil_div(panels, t.panels) < kTiles &&
         t.rows / kRows * t.panels * work_per_block >= 2 * kTileWork) {
    if (t.rows > 4 * kRows) t.rows = round_up(t.rows / 2, kRows);
    else if (t.panels > 2) t.panels = ceil_div(t.panels, 2);
    else break;
  }
  return t;
}

}  // namespace

KERNEL_REAL(cpu, Gemm) {
  constexpr size_t W = kCols<T>;
  if (op.m == 0 || op.n == 0) return;
  const size_t chunks = op.k ? ceil_div(op.k, kDepth) : 1;
  const size_t chunk = op.k ? round_up(ceil_div(op.k, chunks), 16) : 16;
  const size_t deep = least(op.k, chunk * kDeepChunks);
  const size_t widest = round_up(kPackedBytes / sizeof(T) / (deep + 1), 4 * W);
  const size_t wide = least(op.n, widest);
  Scratch scratch;
  T* packed = scratch.take<T>(deep * round_up(wide, W));
  for (size_t j0 = 0; j0 < op.n; j0 += wide) {
    for (size_t k0 = 0; k0 < op.k || k0 == 0; k0 += deep) {
      const Part part{k0, least(deep, op.k - k0), chunk, j0, least(wide, op.n - j0)};
      pack_b(stream, op, part, packed);
      const size_t panels = ceil_div(part.cols, W);
      const TileShape tile = tile_shape(op.m, panels, kRows * W * (part.depth + 1));
      const size_t down = ceil_div(op.m, tile.rows);
      each(stream, down * ceil_div(panels, tile.panels), [&](size_t t) {
        const size_t i0 = t % down * tile.rows, p0 = t / down * tile.panels;
        const size_t rows = least(tile.rows, op.m - i0), p1 = least(panels, p0 + tile.panels);
        if (op.a_row == 1 && op.a_col != 1) compute_tile<T, true>(op, part, packed, i0, rows, p0, p1);
        else compute_tile<T, false>(op, part, packed, i0, rows, p0, p1);
      });
      if (op.k == 0) break;
    }
  }
}

}  // namespace g2rpo
