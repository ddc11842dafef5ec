// Rows by teams of threads: a warp to a narrow row, a block to a wide one; registers hold what is needed twice, so that it is read once.
#pragma once
#include "vectors.h"

namespace g2rpo::cuda {

/** A team of threads for a row: V packs of W elements a thread, or as many as there are where V is 0. */
template <int Team_, int W_, int V_> struct RowTeam {
  static constexpr int Team = Team_, W = W_, V = V_, Held = V_ > 0 ? V_ : 1;
  static constexpr int kBlock = Team == 32 ? 256 : Team, kRows = kBlock / Team;  // threads and rows of a block
  static __device__ size_t lane() { return threadIdx.x % Team; }
  static __device__ size_t of_block() { return threadIdx.x / Team; }
  static __device__ size_t row() { return static_cast<size_t>(blockIdx.x) * kRows + of_block(); }

  /** body(j, i) for the packs of this thread: the j-th that it holds, at element i. */
  template <class Body> static __device__ void each(size_t width, Body&& body) {
    if constexpr (V > 0) {
      for (int j = 0; j < V; j++) {
        const size_t i = (j * Team + lane()) * W;
        if (i < width) body(j, i);
      }
    } else {
      for (size_t i = lane() * W; i < width; i += Team * W) body(0, i);
    }
  }

  /** Sums over the team, in every thread and in a fixed order; of two calls one behind the other `turn` differs. */
  template <int N, class T> static __device__ void sums(T (&x)[N], T (&shared)[2][N][32], unsigned turn) {
    for (int n = 0; n < N; n++) x[n] = warp_sum(x[n]);
    if constexpr (Team > 32) {
      for (int n = 0; n < N; n++)
        if (threadIdx.x % 32 == 0) shared[turn][n][threadIdx.x / 32] = x[n];
      __syncthreads();
      for (int n = 0; n < N; n++) x[n] = warp_sum(threadIdx.x % 32 < Team / 32 ? shared[turn][n][threadIdx.x % 32] : T(0));
    }
  }
};

/** A row of which a thread keeps its packs in registers, or reads them again where they are too many. */
template <class T, class Rows> class Row {
 public:
  __device__ Row(const T* from, size_t width) : from_(from) {
    if constexpr (Rows::V > 0)
      if (from) Rows::each(width, [&](int j, size_t i) { held_[j] = load<Rows::W>(from + i); });
  }
  /** That of a thread, zeros where the row has no element for it. */
  __device__ Pack<T, Rows::W>& held(int j) { return held_[j]; }
  __device__ Pack<T, Rows::W> at(int j, size_t i) const {
    if constexpr (Rows::V > 0) return held_[j];
    else return load<Rows::W>(from_ + i);
  }

 private:
  const T* from_;
  Pack<T, Rows::W> held_[Rows::Held] = {};
};

/** f(RowTeam{}) of the team that suits a width; of rows that a kernel keeps several of at once a warp takes no more than 512 elements. */
template <class T, class F> void with_row_team(size_t width, bool wide, F&& f) {
  constexpr int W = kWide<T>;
  constexpr size_t pack = W * 32;  // elements of a warp with a pack each
  if (!wide || width % W) {
    if (width <= 128) f(RowTeam<32, 1, 4>{});
    else if (width <= 2048) f(RowTeam<256, 1, 8>{});
    else f(RowTeam<1024, 1, 0>{});
  } else if (width <= pack) f(RowTeam<32, W, 1>{});
  else if (width <= 4 * pack) f(RowTeam<32, W, 4>{});
  else if (width <= 8 * pack) f(RowTeam<128, W, 2>{});
  else if (width <= 16 * pack) f(RowTeam<256, W, 2>{});
  else if (width <= 32 * pack) f(RowTeam<512, W, 2>{});
  else if (width <= 64 * pack) f(RowTeam<1024, W, 2>{});
  else f(RowTeam<1024, W, 0>{});
}

/** Rows that a block of a backward pass takes, so that what it leaves (a row of sums) is small beside them; of the shape alone. */
inline size_t rows_together(size_t rows, size_t at_a_time) {
  const size_t least = 16 * at_a_time, share = (rows + 1023) / 1024;
  return ((share > least ? share : least) + at_a_time - 1) / at_a_time * at_a_time;
}

/**
 * What rows add to a row of weights while they pass: `own` in the registers of a thread, then one row for a block; where the team is too
 * small for the width, that row from the start.
 */
template <class T, class Rows> class ColumnSums {
 public:
  __device__ ColumnSums(T* partial, size_t width) : partial_(partial), width_(width) {
    if constexpr (Rows::V == 0) Rows::each(width, [&](int, size_t i) { store<Rows::W>(partial + i, Pack<T, Rows::W>{}); });
  }
  /** sum[i + w] = f(w, sum[i + w]) */
  template <class F> __device__ void add(int j, size_t i, F&& f) {
    if constexpr (Rows::V > 0) {
      for (int w = 0; w < Rows::W; w++) own_[j].x[w] = f(w, own_[j].x[w]);
    } else {
      auto held = load<Rows::W>(partial_ + i);
      for (int w = 0; w < Rows::W; w++) held.x[w] = f(w, held.x[w]);
      store<Rows::W>(partial_ + i, held);
    }
  }
  /** By all threads of the block, once, at the end; `stage` is free again afterwards. */
  __device__ void finish(T (&stage)[Rows::kRows][Rows::kRows == 1 ? 1 : 32 * Rows::Held * Rows::W]) {
    if constexpr (Rows::kRows > 1) {
      Rows::each(width_, [&](int j, size_t i) {
        for (int w = 0; w < Rows::W; w++) stage[Rows::of_block()][i + w] = own_[j].x[w];
      });
      __syncthreads();
      for (size_t i = threadIdx.x; i < width_; i += Rows::kBlock) {
        T sum = 0;
        for (int r = 0; r < Rows::kRows; r++) sum += stage[r][i];
        partial_[i] = sum;
      }
      __syncthreads();
    } else if constexpr (Rows::V > 0) {
      Rows::each(width_, [&](int j, size_t i) { store<Rows::W>(partial_ + i, own_[j]); });
    }
  }

 private:
  T* partial_;
  size_t width_;
  Pack<T, Rows::W> own_[Rows::Held] = {};
};

/** out[i] += Σ over p of partials[p][i], for 32 columns a block; 32 by 32 threads. */
template <class T> __global__ void add_columns(const T* partials, size_t count, size_t width, T* out) {
  __shared__ T sums[32][33];
  const size_t i = blockIdx.x * 32 + threadIdx.x;
  T sum = 0;
  if (i < width)
    for (size_t p = threadIdx.y; p < count; p += 32) sum += partials[p * width + i];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  // a column to a warp
  sum = warp_sum(sums[threadIdx.x][threadIdx.y]);
  const size_t column = blockIdx.x * 32 + threadIdx.y;
  if (threadIdx.x == 0 && column < width) out[column] += sum;
}
template <class T> void add_partials(Stream& stream, const T* partials, size_t count, size_t width, T* out) {
  launch(stream, add_columns<T>, blocks_for(width, 32), dim3(32, 32), partials, count, width, out);
}

}  // namespace g2rpo::cuda
