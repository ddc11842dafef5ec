#include "../../backends/cuda/indices.h"
#include "op.h"

namespace g2rpo {

namespace {

template <class T> __global__ void fill_table(const int32_t* positions, size_t rows, cuda::RowIndices axis, size_t width, const T* frequency, T* cosine, T* sine) {
  const size_t at = cuda::global_index();
  if (at >= rows * width) return;
  const size_t s = at / width, f = at % width;
  size_t a;
  if (!axis.find(f, a)) return;
  const T angle = static_cast<T>(positions[a * rows + s]) * frequency[f];
  cosine[at] = cos(angle);
  sine[at] = sin(angle);
}

/** Reports an axis out of range where there are no positions to turn by. */
__global__ void check_axis(cuda::RowIndices axis, size_t count) {
  const size_t f = cuda::global_index();
  size_t a;
  if (f < count) axis.find(f, a);
}

constexpr size_t kHeads = 4;  // to a thread: they share a row's cosines

template <class T> struct Arguments {
  const T *cosine, *sine, *x;
  T sign;
  size_t rows, heads, half, stride;
};

/** Packs of both halves of a few heads; block y holds which. */
template <class T, int W, class Y> __global__ void rotate(Arguments<T> a, Y* y) {
  const size_t packs = a.half / W, at = cuda::global_index(), s = at / packs, i = at % packs * W;
  if (s >= a.rows) return;
  const size_t first = blockIdx.y * kHeads;
  const auto cosine = cuda::load<W>(a.cosine + s * a.half + i), sine = cuda::load<W>(a.sine + s * a.half + i);
  const size_t begin = s * a.stride + first * 2 * a.half + i;
  const T* x = a.x + begin;
  y += begin;
  cuda::Pack<T, W> x1[kHeads], x2[kHeads];
  for (size_t h = 0; h < kHeads; h++)
    if (first + h < a.heads) {
      x1[h] = cuda::load<W>(x + h * 2 * a.half);
      x2[h] = cuda::load<W>(x + h * 2 * a.half + a.half);
    }
  for (size_t h = 0; h < kHeads; h++)
    if (first + h < a.heads) {
      for (int w = 0; w < W; w++) {
        const T c = cosine.x[w], sn = sine.x[w] * a.sign, p = x1[h].x[w], q = x2[h].x[w];
        x1[h].x[w] = fma(p, c, -(q * sn));
        x2[h].x[w] = fma(q, c, p * sn);
      }
      cuda::store_as<W>(y + h * 2 * a.half, x1[h]);
      cuda::store_as<W>(y + h * 2 * a.half + a.half, x2[h]);
    }
}

}  // namespace

KERNEL_REAL(cuda, RotaryTable) {
  const size_t width = op.axis.size, rows = op.positions.dim[1];
  const cuda::RowIndices axis{op.axis.data, cuda::index_range(stream, op.kName, "axis", op.positions.dim[0])};
  if (width == 0) return;
  if (rows == 0) return cuda::launch(stream, check_axis, cuda::blocks_for(width), cuda::kThreads, axis, width);
  cuda::launch(stream, fill_table<T>, cuda::blocks_for(rows * width), cuda::kThreads, op.positions.data, rows, axis, width, op.inverseFrequency.data,
               op.cosine.data, op.sine.data);
}

KERNEL_REAL(cuda, Rotary) {
  const size_t rows = op.x.dim[0], heads = op.x.dim[1], width = op.x.dim[2], half = width / 2;
  if (op.x.size == 0) return;
  const size_t stride = op.row_stride ? op.row_stride : heads * width;
  const Arguments<T> a{op.cosine.data, op.sine.data, op.x.data, op.inverse ? T(-1) : T(1), rows, heads, half, stride};
  const bool wide = half % cuda::kWide<T> == 0 && stride % cuda::kWide<T> == 0 && cuda::aligned(a.cosine, a.sine, a.x, op.narrow_x);
  const size_t packs = half / (wide ? cuda::kWide<T> : 1);
  const dim3 grid(cuda::blocks_for(rows * packs), static_cast<unsigned>((heads + kHeads - 1) / kHeads));
  const auto start = [&]<class Y>(Y* y) { cuda::launch(stream, wide ? rotate<T, cuda::kWide<T>, Y> : rotate<T, 1, Y>, grid, cuda::kThreads, a, y); };
  if constexpr (sizeof(T) == 4)
    if (op.narrow_x) return start(op.narrow_x);
  start(op.x.data);
}

}  // namespace g2rpo
