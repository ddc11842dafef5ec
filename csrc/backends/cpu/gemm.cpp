// hot
// C = A·B in the manner of Goto: B is packed into panels as wide as the micro-kernel, once for all tiles of rows of A or, where
// there is one tile, just before it is used; tiles of A are packed by the thread that computes them, and the micro-kernel keeps a
// block of C in registers. What B is kept in matters where it is packed, and nowhere else.
//
// Every element of C is one chain of multiply-adds over k, cut into chunks that depend on K alone. So its bits depend neither
// on the number of threads nor on how many other rows and columns there are.
#include "../../core/arena.h"
#include "columns.h"
#include "gemm.h"

namespace g2rpo {

namespace {

using simd::each_columns;
using simd::lanes;
using simd::load;
using simd::load_n;
using simd::splat;
using simd::store;
using simd::store_n;
using simd::Vec;

// the micro-kernel's block of C: rows × vectors, as many accumulators as leave registers for a row of B and an element of A
#if defined(__AVX512F__)
constexpr int kRows = 9, kVectors = 3;
#elif defined(__AVX2__)
constexpr int kRows = 6, kVectors = 2;
#elif defined(__aarch64__)
constexpr int kRows = 8, kVectors = 3;
#else
constexpr int kRows = 4, kVectors = 2;
#endif
template <class T> constexpr size_t kCols = size_t{kVectors} * lanes<T>;

constexpr size_t kDepth = 192;                         // longest chunk of k: a panel of B stays in the first-level cache
constexpr size_t kRowStride = kDepth + 16;             // of packed rows of A: they do not meet in a cache set
constexpr size_t kTileRows = 252 / kRows * kRows;      // whose chunk stays in the second-level cache
constexpr size_t kDeepChunks = 8;                      // chunks of k packed together
constexpr size_t kPackedBytes = size_t{8} << 20;       // of B; it is read once per tile of rows, from far away
constexpr size_t kTileWork = size_t{1} << 20;          // multiply-adds that are worth waking a thread for
constexpr size_t kFewRows = 8;                         // up to which B is not packed if its columns lie along memory
constexpr size_t kDirectPanels = 8;                    // up to which packing A costs more than it saves …
constexpr size_t kSameSets = 2048;                     // … unless columns, or twice that rows, are a multiple of so many bytes apart, and meet in few cache sets
constexpr size_t kFlatRows = 2 * kTileRows;            // up to which C of a long k is computed chunk by chunk, the next one being fetched meanwhile
constexpr size_t kFlatBytes = size_t{512} << 10;       // of B that is then packed together
constexpr size_t kTilesPerThread = 3;                  // so that a thread that is late holds up little

G2_INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }
G2_INLINE size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
G2_INLINE size_t round_up(size_t a, size_t b) { return ceil_div(a, b) * b; }

/** What a micro-kernel fetches into the second-level cache on its way, a line of each for every k: of the next chunk. Steps are bytes. */
struct NextChunk {
  const char* a;
  size_t a_step;
  const char* b;
  size_t b_step;
};

/** Where a block of C goes and what is added to it. */
template <class T> struct Block {
  T* c;
  size_t c_row;
  size_t rows, cols;
  bool add;           // to what C holds
  const T* bias;      // or null
  const T* residual;  // or null
};

/** Adds what there is to add and stores the rows and columns that C has. */
template <class T, int R, int V> G2_INLINE void finish(const Vec<T> (&acc)[R][V], const Block<T>& out) {
  constexpr size_t L = lanes<T>;
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

/**
 * A block of C of at most R rows and V vectors. Of A rows lie next to each other and columns a_step apart (ByColumn), or columns
 * next to each other and rows a_step apart.
 */
template <class T, int R, int V, bool ByColumn>
void micro_kernel(const T* a, size_t a_step, const T* b, size_t depth, NextChunk next, const Block<T>& out) {
  constexpr size_t L = lanes<T>;
  Vec<T> acc[R][V] = {};
  for (size_t k = 0; k < depth; k++) {
    Vec<T> row[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) row[v] = load(b + v * L);
    if (ByColumn) {  // what comes may lie in another page, where no hardware looks ahead
      __builtin_prefetch(a + 12 * a_step);
      __builtin_prefetch(next.a, 0, 2);
      __builtin_prefetch(next.b, 0, 2);
      next.a += next.a_step;
      next.b += next.b_step;
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) {
      const Vec<T> x = splat(a[ByColumn ? i : i * a_step]);
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) acc[i][v] = simd::fma(x, row[v], acc[i][v]);
    }
    a += ByColumn ? a_step : 1;
    b += kCols<T>;
  }
  finish(acc, out);
}

/** The smallest micro-kernel that covers the block; heights go by two. */
template <class T, bool ByColumn, int V = kVectors, int R = kRows>
G2_INLINE void compute_block(const T* a, size_t a_step, const T* b, size_t depth, const NextChunk& next, const Block<T>& out) {
  if constexpr (V > 1 && R == kRows)
    if (out.cols <= (V - 1) * size_t{lanes<T>}) return compute_block<T, ByColumn, V - 1, R>(a, a_step, b, depth, next, out);
  if constexpr (R > 2)
    if (out.rows <= R - 2) return compute_block<T, ByColumn, V, R - 2>(a, a_step, b, depth, next, out);
  micro_kernel<T, R, V, ByColumn>(a, a_step, b, depth, next, out);
}

/** Rows of A behind each other, kRowStride apart; one row of zeros behind them if the micro-kernel reads it. */
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
  if ((kRows - rows % kRows) % 2)
    for (size_t k = 0; k < depth; k++) to[rows * kRowStride + k] = 0;
}

/** Columns of A behind each other, kRows of their elements in each; for A whose rows are neighbours in memory. */
template <class T> void pack_columns(const T* a, size_t col, size_t rows, size_t depth, T* to) {
  const size_t whole = rows / kRows * kRows;
  for (size_t k = 0; k < depth; k++, a += col) {
    T* out = to + k * kRows;
    for (size_t i = 0; i < whole; i += kRows, out += kRows * kDepth) __builtin_memcpy(out, a + i, kRows * sizeof(T));
    if (whole == rows) continue;
    for (size_t r = 0; r < kRows; r++) out[r] = whole + r < rows ? a[whole + r] : T(0);
  }
}

/** sums[i] += Σₖ A(i, k), for A whose rows are neighbours in memory. */
template <class T> void add_columns(const T* a, size_t col, size_t rows, size_t depth, T* sums) {
  constexpr size_t L = lanes<T>, wide = 4 * L;
  size_t i = 0;
  for (; i + wide <= rows; i += wide) {
    Vec<T> total[4] = {};
    for (size_t k = 0; k < depth; k++)
#pragma GCC unroll 4
      for (size_t v = 0; v < 4; v++) total[v] += load<T>(a + k * col + i + v * L);
    for (size_t v = 0; v < 4; v++) store(sums + i + v * L, load<T>(sums + i + v * L) + total[v]);
  }
  for (; i < rows; i += L) {
    const size_t n = least(L, rows - i);
    Vec<T> total{};
    for (size_t k = 0; k < depth; k++) total += load_n<T>(a + k * col + i, n);
    store_n(sums + i, load_n<T>(sums + i, n) + total, n);
  }
}

/** The sums of a product without columns: added up as beside one that has some. */
template <class T, class W> void sums_alone(Stream& stream, const Gemm<T, W>& op, size_t chunk) {
  constexpr size_t together = 4 * size_t{lanes<T>};
  parallel_for(stream, ceil_div(op.m, together), [&](size_t t) {
    const size_t i = t * together;
    for (size_t k = 0; k < op.k; k += chunk)
      add_columns(op.a.data + i + k * op.a_col, op.a_col, least(together, op.m - i), least(chunk, op.k - k), op.sums + i);
  });
}

/** A panel of B: `depth` rows of kCols elements, zeros behind the last column. */
template <class T, class W> void pack_panel(const W* b, size_t row, size_t col, size_t depth, size_t cols, T* to) {
  constexpr size_t L = lanes<T>, P = kCols<T>;
  if (col == 1) {
    if (__is_same(T, W) && cols == P) {
      for (size_t k = 0; k < depth; k++) __builtin_memcpy(to + k * P, b + k * row, P * sizeof(T));
      return;
    }
    for (size_t k = 0; k < depth; k++, b += row, to += P)
#pragma GCC unroll 4
      for (size_t j = 0; j < P; j += L)
        store(to + j, j + L <= cols ? load(b + j) : j < cols ? load_n(b + j, cols - j) : Vec<T>{});
    return;
  }
  if (row == 1) {
    for (size_t j = 0; j < P; j += L)
      each_columns<T>(b + j * col, col, depth, j < cols ? least(L, cols - j) : 0, [&](size_t k, const auto& x, size_t m) G2_INLINED {
#pragma GCC unroll 32
        for (size_t i = 0; i < x.depth; i++) {
          if (i >= m) break;
          store(to + (k + i) * P + j, x[i]);
        }
      });
    return;
  }
  for (size_t k = 0; k < depth; k++)
    for (size_t j = 0; j < P; j++) to[k * P + j] = j < cols ? widen(b[k * row + j * col]) : T(0);
}

/** Items on all threads; a single one without leaving this one. */
template <class F> G2_INLINE void each(Stream& stream, size_t n, F&& f) {
  if (n > 1) return parallel_for(stream, n, f);
  for (size_t i = 0; i < n; i++) f(i);
}

/** Part of B: k in [k0, k0 + depth) in chunks, j in [j0, j0 + cols). */
struct Part {
  size_t k0, depth, chunk;
  size_t j0, cols;
};

template <class T, class W> G2_INLINE void pack_one(const Gemm<T, W>& op, const Part& part, size_t k, size_t p, size_t depth, T* to) {
  const size_t j = p * kCols<T>;
  pack_panel(op.b.data + (part.k0 + k) * op.b_row + (part.j0 + j) * op.b_col, op.b_row, op.b_col, depth,
             least(kCols<T>, part.cols - j), to);
}

template <class T, class W> void pack_b(Stream& stream, const Gemm<T, W>& op, const Part& part, T* packed) {
  constexpr size_t P = kCols<T>;
  const size_t panels = ceil_div(part.cols, P);
  const auto pack = [&](size_t p) {
    for (size_t k = 0; k < part.depth; k += part.chunk) {
      const size_t depth = least(part.chunk, part.depth - k);
      pack_one(op, part, k, p, depth, packed + k * panels * P + p * depth * P);
    }
  };
  if (part.depth * part.cols < kTileWork / 16) {
    for (size_t p = 0; p < panels; p++) pack(p);
  } else {
    each(stream, panels, pack);
  }
}

/** What is added to a block of C that starts at row i and column j, by the chunk that comes first or by a later one. */
template <class T, class W>
G2_INLINE Block<T> block_of(const Gemm<T, W>& op, size_t i, size_t j, size_t rows, size_t cols, bool first) {
  const size_t at = i * op.c_row + j;
  return {op.c.data + at, op.c_row, rows, cols, op.accumulate || !first, first && op.bias ? op.bias + j : nullptr,
          first && op.residual ? op.residual + at : nullptr};
}

/** Panels of a part of B that was packed beforehand. */
template <class T> struct PackedPanels {
  static constexpr size_t room = 0;  // elements that `at` may use
  const T* packed;
  size_t panels;

  G2_INLINE const T* at(size_t k, size_t p, size_t depth, T*) const { return packed + (k * panels + p * depth) * kCols<T>; }
  /** Bytes of the next panel come nearer while this one is used, a share at each of `times`. */
  struct Ahead {
    const char* next;
    size_t lines;
    G2_INLINE void operator()() {
      for (size_t l = 0; l < lines; l++, next += 64) __builtin_prefetch(next, 0, 2);
    }
  };
  G2_INLINE Ahead ahead(size_t k, size_t p, size_t depth, size_t times) const {
    return {reinterpret_cast<const char*>(at(k, p + 1, depth, nullptr)), depth * kCols<T> * sizeof(T) / 64 / times + 1};
  }
};

/** Panels that are packed when they are wanted: where all rows are one tile, nobody wants them twice. */
template <class T, class W> struct FreshPanels {
  static constexpr size_t room = kDepth * kCols<T>;
  const Gemm<T, W>& op;
  const Part& part;

  G2_INLINE const T* at(size_t k, size_t p, size_t depth, T* to) const {
    pack_one(op, part, k, p, depth, to);
    return to;
  }
  G2_INLINE auto ahead(size_t, size_t, size_t, size_t) const { return [] {}; }
};

/** The tile [i0, i0 + rows) × panels [p0, p1) of C, over one part of B. */
template <bool ByColumn, class T, class W, class Panels>
void compute_tile(const Gemm<T, W>& op, const Part& part, const Panels& source, size_t i0, size_t rows, size_t p0, size_t p1) {
  constexpr size_t P = kCols<T>;
  Scratch scratch;
  T* a = scratch.take<T>((round_up(rows, kRows) + 1) * kRowStride);
  T* room = scratch.take<T>(source.room);
  for (size_t k = 0; k < part.depth || k == 0; k += part.chunk) {
    const size_t depth = least(part.chunk, part.depth - k);
    const T* from = op.a.data + i0 * op.a_row + (part.k0 + k) * op.a_col;
    // rows that are read where they are: a micro-kernel may read one row too many, so the last ones are packed always
    const bool readable = ByColumn ? op.a_col * sizeof(T) % kSameSets != 0 : op.a_col == 1 && op.a_row * sizeof(T) % (2 * kSameSets) != 0;
    const size_t direct = readable && p1 - p0 <= kDirectPanels ? rows / kRows * kRows : 0;
    if constexpr (ByColumn) pack_columns(from + direct, op.a_col, rows - direct, depth, a + direct * kDepth);
    else pack_rows(from + direct * op.a_row, op.a_row, op.a_col, rows - direct, depth, a + direct * kRowStride);
    if (ByColumn && op.sums && part.j0 == 0 && p0 == 0) add_columns(from, op.a_col, rows, depth, op.sums + i0);
    const bool first = part.k0 + k == 0;
    for (size_t p = p0; p < p1; p++) {
      const size_t j = part.j0 + p * P;
      const T* b = source.at(k, p, depth, room);
      auto ahead = source.ahead(k, p, depth, ceil_div(rows, kRows));
      for (size_t i = 0; i < rows; i += kRows) {
        if (p + 1 < p1) ahead();
        const T* row = i < direct ? from + i * op.a_row : a + i * (ByColumn ? kDepth : kRowStride);
        const size_t step = ByColumn ? (i < direct ? op.a_col : kRows) : (i < direct ? op.a_row : kRowStride);
        NextChunk next{reinterpret_cast<const char*>(row), 0, reinterpret_cast<const char*>(b), 0};
        if (ByColumn && part.k0 + k + depth < op.k) {
          if (p == p0) next.a = reinterpret_cast<const char*>(from + i + depth * op.a_col), next.a_step = op.a_col * sizeof(T);
          // the first blocks of a panel fetch a line of each of its rows; of a deeper part the next chunk is packed already
          const size_t line = i / kRows * (64 / sizeof(W));
          if (op.b_col == 1 && part.depth == depth && line < P)
            next.b = reinterpret_cast<const char*>(op.b.data + (part.k0 + depth) * op.b_row + j + line), next.b_step = op.b_row * sizeof(W);
        }
        compute_block<T, ByColumn>(row, step, b, depth, next,
                                   block_of(op, i0 + i, j, least(kRows, rows - i), least(P, part.cols - p * P), first));
      }
    }
  }
}

/**
 * A product of few rows where they and B's columns lie along memory: a vector's worth of columns is transposed in registers and used
 * at once, since packing would cost more than the product. The chains of multiply-adds are those of the micro-kernel.
 */
template <int R, class T, class W> void few_rows(const Gemm<T, W>& op, const T* a, size_t chunk, size_t j, size_t k0) {
  constexpr size_t L = lanes<T>;
  const size_t cols = least(L, op.n - j);
  Vec<T> acc[R][1] = {};
  each_columns<T>(op.b.data + j * op.b_col + k0, op.b_col, least(chunk, op.k - k0), cols, [&](size_t k, const auto& x, size_t m) G2_INLINED {
    const T* at = a + k;
    const auto step = [&](size_t l) G2_INLINED {
#pragma GCC unroll 8
      for (int i = 0; i < R; i++) acc[i][0] = simd::fma(splat(at[i * kRowStride + l]), x[l], acc[i][0]);
    };
    if (m == x.depth) {
#pragma GCC unroll 32
      for (size_t l = 0; l < x.depth; l++) step(l);
    } else {
#pragma GCC unroll 32
      for (size_t l = 0; l < x.depth; l++) {
        if (l >= m) break;
        step(l);
      }
    }
  });
  finish(acc, block_of(op, 0, j, op.m, cols, k0 == 0));
}

/** Few rows of A: chunk by chunk of k, rows kRowStride apart. */
template <class T> const T* pack_few(const T* a, size_t row, size_t rows, size_t k, size_t chunk, Scratch& scratch) {
  constexpr size_t stride = kFewRows * kRowStride;
  T* packed = scratch.take<T>(ceil_div(k, chunk) * stride);
  for (size_t at = 0, c = 0; at < k; at += chunk, c++)
    for (size_t i = 0; i < rows; i++)
      __builtin_memcpy(packed + c * stride + i * kRowStride, a + i * row + at, least(chunk, k - at) * sizeof(T));
  return packed;
}

/** All rows of a vector's worth of columns. */
template <class T, class W> void few_rows_of(const Gemm<T, W>& op, const T* a, size_t chunk, size_t j) {
  for (size_t k0 = 0; k0 < op.k || k0 == 0; k0 += chunk, a += kFewRows * kRowStride) {
    if (op.m == 1) few_rows<1>(op, a, chunk, j, k0);
    else if (op.m == 2) few_rows<2>(op, a, chunk, j, k0);
    else if (op.m <= 4) few_rows<4>(op, a, chunk, j, k0);
    else few_rows<8>(op, a, chunk, j, k0);
  }
}

/** Rows and panels of a tile: halved while there are too few tiles for the threads and each has work enough for two. */
struct TileShape {
  size_t rows, panels;
};
G2_INLINE TileShape tile_shape(size_t m, size_t panels, size_t work_per_block, size_t threads) {
  TileShape t{round_up(ceil_div(m, ceil_div(m, kTileRows)), kRows), panels};
  const size_t wanted = threads > 1 ? threads * kTilesPerThread : 1;
  while (ceil_div(m, t.rows) * ceil_div(panels, t.panels) < wanted &&
         t.rows / kRows * t.panels * work_per_block >= 2 * kTileWork) {
    if (t.rows > 8 * kRows) t.rows = round_up(t.rows / 2, kRows);
    else if (t.panels > 4) t.panels = ceil_div(t.panels, 2);
    else if (t.rows > 4 * kRows) t.rows = round_up(t.rows / 2, kRows);
    else if (t.panels > 2) t.panels = ceil_div(t.panels, 2);
    else break;
  }
  return t;
}

}  // namespace

KERNEL_WEIGHT(cpu, Gemm) {
  constexpr size_t P = kCols<T>;
  const size_t chunks = op.k ? ceil_div(op.k, kDepth) : 1;
  const size_t chunk = op.k ? round_up(ceil_div(op.k, chunks), 32) : 32;  // whole vectors of columns, of bf16 too
  if (op.n == 0 && op.sums) return sums_alone(stream, op, chunk);
  if (op.n == 0 || (op.m == 0 && !op.pack_to)) return;
  if (op.m <= kFewRows && op.a_col == 1 && op.b_row == 1 && !op.packed && !op.pack_to && !op.sums) {
    constexpr size_t L = lanes<T>;
    Scratch scratch;
    const T* a = pack_few(op.a.data, op.a_row, op.m, op.k, chunk, scratch);
    const size_t vectors = ceil_div(op.n, L), together = ceil_div(kTileWork, op.m * (op.k + 1) * L);
    return each(stream, ceil_div(vectors, together), [&](size_t t) {
      for (size_t v = t * together; v < least(vectors, (t + 1) * together); v++) few_rows_of(op, a, chunk, v * L);
    });
  }
  const bool by_column = op.a_row == 1 && (op.a_col != 1 || op.sums);
  const bool flat = by_column && op.m <= kFlatRows && !op.packed && !op.pack_to;
  const size_t deep = least(op.k, flat ? chunk : chunk * kDeepChunks);
  const size_t widest = round_up((flat ? kFlatBytes : kPackedBytes) / sizeof(T) / (deep + 1), 4 * P);
  const size_t wide = least(op.n, widest);
  const auto compute = [&](const Part& part, const auto& source) {
    const size_t panels = ceil_div(part.cols, P);
    const TileShape tile = tile_shape(op.m, panels, kRows * P * (part.depth + 1), static_cast<size_t>(threads_of(stream)));
    const size_t down = ceil_div(op.m, tile.rows);
    each(stream, down * ceil_div(panels, tile.panels), [&](size_t t) {
      const size_t i0 = t % down * tile.rows, p0 = t / down * tile.panels;
      const size_t rows = least(tile.rows, op.m - i0), p1 = least(panels, p0 + tile.panels);
      if (by_column) compute_tile<true>(op, part, source, i0, rows, p0, p1);
      else compute_tile<false>(op, part, source, i0, rows, p0, p1);
    });
  };
  if (op.m <= kTileRows && !flat && !op.packed && !op.pack_to) {
    const Part all{0, op.k, chunk, 0, op.n};
    return compute(all, FreshPanels<T, W>{op, all});
  }
  Scratch scratch;
  T* own = op.packed || op.pack_to ? nullptr : scratch.take<T>(deep * round_up(wide, P));
  size_t before = 0;  // elements of the parts that came first
  for (size_t j0 = 0; j0 < op.n; j0 += wide) {
    for (size_t k0 = 0; k0 < op.k || k0 == 0; k0 += op.k ? deep : 1) {
      const Part part{k0, least(deep, op.k - k0), chunk, j0, least(wide, op.n - j0)};
      const size_t at = before, panels = ceil_div(part.cols, P);
      before += panels * P * part.depth;
      if (!op.packed) pack_b(stream, op, part, op.pack_to ? op.pack_to + at : own);
      if (!op.pack_to) compute(part, PackedPanels<T>{op.packed ? op.packed + at : own, panels});
    }
  }
}

}  // namespace g2rpo
