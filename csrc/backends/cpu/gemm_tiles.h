// C = A·B in the manner of Goto: B is packed into panels as wide as the micro-kernel, once for all tiles of rows of A or, where
// there is one tile, just before it is used; tiles of A are packed by the thread that computes them, and the micro-kernel keeps a
// block of C in registers. What B is kept in matters where it is packed, and nowhere else.
//
// Every element of C is one chain of multiply-adds over k, cut into chunks that depend on K alone. So its bits depend neither
// on the number of threads nor on how many other rows and columns there are. The exception is `flat_product`, whose chains are as
// many as the sizes say, and whose bits therefore depend on these, but not on threads. Hot files only.
#pragma once
#include "../../core/arena.h"
#include "gemm_few_rows.h"
#include "gemm_pack.h"

namespace g2rpo {

namespace {

constexpr size_t kTileRows = 252 / kRows * kRows;      // whose chunk stays in the second-level cache
constexpr size_t kDeepChunks = 8;                      // chunks of k packed together
constexpr size_t kPackedBytes = size_t{8} << 20;       // of B; it is read once per tile of rows, from far away
constexpr size_t kDirectPanels = 8;                    // up to which packing A costs more than it saves …
constexpr size_t kSameSets = 2048;                     // … unless columns, or twice that rows, are a multiple of so many bytes apart, and meet in few cache sets …
constexpr size_t kFewPanels = 4;                       // … which rows may where there are no more panels
constexpr size_t kFlatRows = 2 * kTileRows;            // up to which C of a long k is computed chunk by chunk, the next one being fetched meanwhile
constexpr size_t kFlatBytes = size_t{512} << 10;       // of B that is then packed together
constexpr size_t kStretch = 8;                         // chunks of k, at least, whose products are added up apart …
constexpr size_t kStretches = 16;                      // … in so many sums at most …
constexpr size_t kApart = size_t{256} << 10;           // … of so many elements each
constexpr size_t kTilesPerThread = 3;                  // so that a thread that is late holds up little

/** sums[i] += Σₖ A(i, k), for A whose rows are neighbours in memory. */
template <class T, class A> void add_columns(const A* a, size_t col, size_t rows, size_t depth, T* sums) {
  constexpr size_t L = lanes<T>, wide = 4 * L;
  size_t i = 0;
  for (; i + wide <= rows; i += wide) {
    Vec<T> total[4] = {};
    for (size_t k = 0; k < depth; k++)
#pragma GCC unroll 4
      for (size_t v = 0; v < 4; v++) total[v] += load(a + k * col + i + v * L);
    for (size_t v = 0; v < 4; v++) store(sums + i + v * L, load<T>(sums + i + v * L) + total[v]);
  }
  for (; i < rows; i += L) {
    const size_t n = least(L, rows - i);
    Vec<T> total{};
    for (size_t k = 0; k < depth; k++) total += load_n(a + k * col + i, n);
    store_n(sums + i, load_n<T>(sums + i, n) + total, n);
  }
}

/** The sums of a product without columns: added up as beside one that has some. */
template <class T, class W, class A> void sums_alone(Stream& stream, const Gemm<T, W, A>& op, size_t chunk) {
  constexpr size_t together = 4 * size_t{lanes<T>};
  parallel_for(stream, ceil_div(op.m, together), [&](size_t t) {
    const size_t i = t * together;
    for (size_t k = 0; k < op.k; k += chunk)
      add_columns(op.a.data + i + k * op.a_col, op.a_col, least(together, op.m - i), least(chunk, op.k - k), op.sums + i);
  });
}

/** The tile [i0, i0 + rows) × panels [p0, p1) of C, over one part of B. */
template <bool ByColumn, class E, class T, class W, class A, class Source>
void compute_tile(const Gemm<T, W, A>& op, const Part& part, const Source& source, size_t i0, size_t rows, size_t p0, size_t p1) {
  constexpr size_t P = kCols<E>, kStep = ByColumn ? kDepth<E> : kRowStride<E>;  // elements of A that a row takes
  Scratch scratch;
  E* a = scratch.take<E>((round_up(rows, kRows) + 1) * kRowStride<E>);
  E* room = scratch.take<E>(source.room);
  for (size_t k = 0; k < part.depth || k == 0; k += part.chunk) {
    const size_t depth = least(part.chunk, part.depth - k);
    const A* from = op.a.data + i0 * op.a_row + (part.k0 + k) * op.a_col;
    // rows that are read where they are: a micro-kernel may read one row too many, so the last ones are packed always
    const bool apart = ByColumn ? op.a_col * sizeof(A) % kSameSets != 0 : op.a_col == 1 && op.a_row * sizeof(A) % (2 * kSameSets) != 0;
    const bool elements = sizeof(A) * deep<E> == sizeof(E) && (deep<E> == 1 || (!ByColumn && op.a_row % deep<E> == 0 && op.k % deep<E> == 0));
    const bool readable = elements && (apart || (!ByColumn && op.a_col == 1 && p1 - p0 <= kFewPanels));
    const size_t direct = readable && p1 - p0 <= kDirectPanels ? rows / kRows * kRows : 0;
    if constexpr (ByColumn) pack_columns(from + direct, op.a_col, rows - direct, depth, a + direct * kStep);
    else pack_rows(from + direct * op.a_row, op.a_row, op.a_col, rows - direct, depth, a + direct * kStep);
    if (ByColumn && op.sums && part.j0 == 0 && p0 == 0) add_columns(from, op.a_col, rows, depth, op.sums + i0);
    const bool first = part.k0 + k == 0;
    for (size_t p = p0; p < p1; p++) {
      const size_t j = part.j0 + p * P;
      const E* b = source.at(k, p, depth, room);
      // the panel after this one, or the first of what comes then, is fetched by the first blocks: all of it, or a share of each of its rows
      constexpr size_t kLines = (P * sizeof(E) + 63) / 64;
      const size_t b_lines = ceil_div(kLines, least(kLines, ceil_div(rows, kRows))), fetched = elements_of<E>(depth) * b_lines * 64;
      const char* ahead = ByColumn ? nullptr : source.next(k, p, depth);
      const char* const ahead_end = ahead ? ahead + elements_of<E>(depth) * P * sizeof(E) : nullptr;
      for (size_t i = 0; i < rows; i += kRows) {
        const E* row = a + i * kStep;
        size_t step = ByColumn ? kRows : kRowStride<E>;
        if (i < direct) row = reinterpret_cast<const E*>(from + i * op.a_row), step = ByColumn ? op.a_col : op.a_row / deep<E>;
        NextChunk next{reinterpret_cast<const char*>(row), 0, reinterpret_cast<const char*>(b), 0, sizeof(A) * deep<E>, 0};
        if (ahead < ahead_end) next.b = ahead, next.b_lines = b_lines, ahead += fetched;
        const bool last = part.k0 + k + depth >= op.k;
        if (!ByColumn && op.a_col == 1 && p == p0) {
          const bool whole = i < direct && i + 2 * kRows <= direct;
          const A* ahead_of = whole ? from + (i + kRows) * op.a_row : last ? nullptr : from + i * op.a_row + depth;
          if (ahead_of) next.a = reinterpret_cast<const char*>(ahead_of), next.a_step = op.a_row * sizeof(A);
        }
        if (ByColumn && !last) {
          if (p == p0) next.a = reinterpret_cast<const char*>(from + i + depth * op.a_col), next.a_step = op.a_col * sizeof(A);
          // the first blocks of a panel fetch a line of each of its rows; of a deeper part the next chunk is packed already
          const size_t line = i / kRows * (64 / sizeof(W));
          if (op.b_col == 1 && part.depth == depth && line < P)
            next.b = reinterpret_cast<const char*>(op.b.data + (part.k0 + depth) * op.b_row + j + line), next.b_step = op.b_row * sizeof(W);
        }
        compute_block<E, ByColumn>(row, step, b, elements_of<E>(depth), next,
                                   block_of(op, i0 + i, j, least(kRows, rows - i), least(P, part.cols - p * P), first));
      }
    }
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

/** C += what was added up apart, in order. */
template <class T> void join(Stream& stream, T* c, size_t row, size_t m, size_t n, const T* apart, size_t count) {
  constexpr size_t L = lanes<T>;
  const size_t rows = ceil_div(kTileWork / 64, n);
  each(stream, ceil_div(m, rows), [&](size_t t) {
    for (size_t i = t * rows; i < least(m, (t + 1) * rows); i++)
      for (size_t j = 0; j < n; j += L) {
        const size_t left = least(L, n - j);
        Vec<T> y = load_n<T>(c + i * row + j, left);
        for (size_t s = 0; s < count; s++) y += load_n<T>(apart + (s * m + i) * n + j, left);
        store_n(c + i * row + j, y, left);
      }
  });
}

/**
 * C of few rows over a long k, of A whose rows are neighbours in memory: the gradient of a weight. Threads share out stretches of k, whose sums lie apart
 * until all are there, and columns: nobody waits for anybody from chunk to chunk. Stretches depend on the sizes alone.
 */
template <class E, class T, class W, class A> void flat_product(Stream& stream, const Gemm<T, W, A>& op, size_t chunk) {
  constexpr size_t P = kCols<E>;
  const size_t chunks = ceil_div(op.k, chunk), panels = ceil_div(op.n, P), size = op.m * op.n;
  const size_t stretch = size <= kApart ? ceil_div(chunks, least(kStretches, ceil_div(chunks, kStretch))) * chunk : op.k;
  const size_t stretches = ceil_div(op.k, stretch), threads = static_cast<size_t>(threads_of(stream));
  const size_t wanted = threads == 1 ? 1 : least(threads * kTilesPerThread, ceil_div(size * op.k, 2 * kTileWork));
  const size_t in_cache = ceil_div(panels * P * elements_of<E>(chunk) * sizeof(E), kFlatBytes);  // groups of columns, at least
  const size_t wide = ceil_div(panels, most(in_cache, least(panels, ceil_div(wanted, stretches)))), across = ceil_div(panels, wide);
  const size_t down = most(ceil_div(op.m, kTileRows), stretches * across < wanted && op.m > 16 * kRows ? 2 : 1);
  const size_t tall = round_up(ceil_div(op.m, down), kRows);

  Scratch scratch;
  T* apart = scratch.take<T>((stretches - 1) * size);
  T* sums = op.sums ? scratch.take<T>(chunks * op.m) : nullptr;  // of each chunk, to be added up as where nothing else is wanted
  if (sums) __builtin_memset(sums, 0, chunks * op.m * sizeof(T));
  each(stream, stretches * across * down, [&](size_t t) {
    const size_t s = t / (across * down), k0 = s * stretch, p0 = t / down % across * wide, i0 = t % down * tall;
    if (i0 >= op.m) return;
    Gemm<T, W, A> own = op;
    own.a.data += k0 * op.a_col, own.b.data += k0 * op.b_row, own.k = least(stretch, op.k - k0);
    if (s > 0) {
      own.c = {apart + (s - 1) * size, op.m, op.n}, own.c_row = op.n;
      own.accumulate = false, own.bias = own.residual = nullptr;
    }
    const size_t cols = least(wide * P, op.n - p0 * P), count = ceil_div(cols, P);
    Scratch inner;
    E* packed = inner.take<E>(count * P * elements_of<E>(chunk));
    for (size_t k = 0; k < own.k; k += chunk) {
      const Part part{k, least(chunk, own.k - k), chunk, p0 * P, cols};
      if (sums) own.sums = sums + (k0 + k) / chunk * op.m;
      for (size_t p = 0; p < count; p++) pack_one(own, part, 0, p, part.depth, packed + panel_at<E>(count, 0, p, part.depth));
      compute_tile<true, E>(own, part, PackedPanels<E>{packed, count}, i0, least(tall, op.m - i0), 0, count);
    }
  });
  if (stretches > 1) join(stream, op.c.data, op.c_row, op.m, op.n, apart, stretches - 1);
  if (sums) join(stream, op.sums, op.m, 1, op.m, sums, chunks);
}

/** The product whose micro-kernels multiply elements E: reals, or pairs of what A and B are rounded to. */
template <class E, class T, class W, class A> void product(Stream& stream, const Gemm<T, W, A>& op) {
  constexpr size_t P = kCols<E>;
  const size_t chunks = op.k ? ceil_div(op.k, kDepth<E> * deep<E>) : 1;
  const size_t chunk = op.k ? round_up(ceil_div(op.k, chunks), 32) : 32;  // whole vectors of columns, of bf16 too
  if (op.n == 0 && op.sums) return sums_alone(stream, op, chunk);
  if (op.n == 0 || (op.m == 0 && !op.pack_to)) return;
  // the columns of one row are both; beside sums and without, they are columns
  const bool by_column = op.a_row == 1 && (op.a_col != 1 || op.sums || op.k > 1);
  if (op.m <= kFewRows && op.a_col == 1 && op.b_row == 1 && !by_column && !op.packed && !op.pack_to) {
    constexpr size_t L = lanes<E>;
    Scratch scratch;
    const E* a = pack_few<E>(op.a.data, op.a_row, op.m, op.k, chunk, scratch);
    const size_t vectors = ceil_div(op.n, L), together = ceil_div(kTileWork, op.m * (op.k + 1) * L);
    return each(stream, ceil_div(vectors, together), [&](size_t t) {
      for (size_t v = t * together; v < least(vectors, (t + 1) * together); v++) few_rows_of(op, a, chunk, v * L);
    });
  }
  if (by_column && op.m <= kFlatRows && op.k > 0 && !op.packed && !op.pack_to) return flat_product<E>(stream, op, chunk);
  const size_t deepest = least(op.k, chunk * kDeepChunks);
  const size_t widest = round_up(kPackedBytes / sizeof(E) / (elements_of<E>(deepest) + 1), 4 * P);
  const size_t wide = least(op.n, widest);
  const auto compute = [&](const Part& part, const auto& source) {
    const size_t panels = ceil_div(part.cols, P);
    const TileShape tile = tile_shape(op.m, panels, kRows * P * (part.depth + 1), static_cast<size_t>(threads_of(stream)));
    const size_t down = ceil_div(op.m, tile.rows);
    each(stream, down * ceil_div(panels, tile.panels), [&](size_t t) {
      const size_t i0 = t % down * tile.rows, p0 = t / down * tile.panels;
      const size_t rows = least(tile.rows, op.m - i0), p1 = least(panels, p0 + tile.panels);
      if (by_column) compute_tile<true, E>(op, part, source, i0, rows, p0, p1);
      else compute_tile<false, E>(op, part, source, i0, rows, p0, p1);
    });
  };
  if (op.m <= kTileRows && !op.packed && !op.pack_to) {
    const Part all{0, op.k, chunk, 0, op.n};
    return compute(all, FreshPanels<E, T, W, A>{op, all});
  }
  Scratch scratch;
  const E* packed = reinterpret_cast<const E*>(op.packed);  // as this instruction set has laid it out
  E* own = op.pack_to ? reinterpret_cast<E*>(op.pack_to) : packed ? nullptr : scratch.take<E>(elements_of<E>(deepest) * round_up(wide, P));
  size_t before = 0;  // elements of the parts that came first
  for (size_t j0 = 0; j0 < op.n; j0 += wide) {
    for (size_t k0 = 0; k0 < op.k || k0 == 0; k0 += op.k ? deepest : 1) {
      const Part part{k0, least(deepest, op.k - k0), chunk, j0, least(wide, op.n - j0)};
      const size_t panels = ceil_div(part.cols, P), at = packed || op.pack_to ? before : 0;
      before += panels * P * elements_of<E>(part.depth);
      if (!packed) pack_b(stream, op, part, own + at);
      if (!op.pack_to) compute(part, PackedPanels<E>{(packed ? packed : own) + at, panels});
    }
  }
}

}  // namespace

}  // namespace g2rpo
