#include "../../backends/cuda/indices.h"
#include "op.h"

namespace g2rpo {

namespace {

template <class T> __device__ T sigmoid(T x) { return 1 / (1 + exp(-x)); }

template <class T> struct Arguments {
  const T *dY, *gateUp, *weights;
  cuda::RowIndices order;
  size_t rows, width;
  T *out, *dWeights;  // y or dGateUp
};

template <class T, class Rows> __global__ void __launch_bounds__(Rows::kBlock) forward(Arguments<T> a) {
  const size_t p = Rows::row();
  size_t pair;
  if (p >= a.rows || !a.order.find(p, pair)) return;
  const T weight = a.weights[pair];
  const cuda::Row<T, Rows> gates(a.gateUp + 2 * p * a.width, a.width), ups(a.gateUp + (2 * p + 1) * a.width, a.width);
  Rows::each(a.width, [&](int j, size_t i) {
    auto gate = gates.at(j, i);
    const auto up = ups.at(j, i);
    for (int w = 0; w < Rows::W; w++) gate.x[w] = weight * gate.x[w] * sigmoid(gate.x[w]) * up.x[w];
    cuda::store<Rows::W>(a.out + p * a.width + i, gate);
  });
}

template <class T, class Rows> __global__ void __launch_bounds__(Rows::kBlock) backward(Arguments<T> a) {
  __shared__ T shared[2][1][32];
  const size_t p = Rows::row();
  size_t pair;
  if (p >= a.rows || !a.order.find(p, pair)) return;
  const T weight = a.weights[pair];
  const cuda::Row<T, Rows> dY(a.dY + p * a.width, a.width), gates(a.gateUp + 2 * p * a.width, a.width), ups(a.gateUp + (2 * p + 1) * a.width, a.width);
  T total[1] = {};
  Rows::each(a.width, [&](int j, size_t i) {
    const auto dy = dY.at(j, i);
    auto gate = gates.at(j, i), up = ups.at(j, i);
    for (int w = 0; w < Rows::W; w++) {
      const T s = sigmoid(gate.x[w]), silu = gate.x[w] * s;
      total[0] = fma(dy.x[w] * silu, up.x[w], total[0]);
      gate.x[w] = weight * dy.x[w] * up.x[w] * s * fma(gate.x[w], 1 - s, T(1));
      up.x[w] = weight * dy.x[w] * silu;
    }
    cuda::store<Rows::W>(a.out + 2 * p * a.width + i, gate);
    cuda::store<Rows::W>(a.out + (2 * p + 1) * a.width + i, up);
  });
  Rows::sums(total, shared, 0);
  if (Rows::lane() == 0) a.dWeights[pair] = total[0];
}

}  // namespace

KERNEL_REAL(cuda, ExpertSwiGlu) {
  const size_t rows = op.order.size, width = op.y.dim[1];
  const cuda::RowIndices order{op.order.data, cuda::index_range(stream, op.kName, "order", rows)};
  if (rows == 0) return;
  const Arguments<T> a{nullptr, op.gateUp.data, op.weights.data, order, rows, width, op.y.data, nullptr};
  cuda::with_row_team<T>(width, cuda::aligned(a.gateUp, a.out), [&]<class Rows>(Rows) {
    cuda::launch(stream, forward<T, Rows>, cuda::blocks_for(rows, Rows::kRows), Rows::kBlock, a);
  });
}

KERNEL_REAL(cuda, ExpertSwiGluBackward) {
  const size_t rows = op.order.size, width = op.dY.dim[1];
  const cuda::RowIndices order{op.order.data, cuda::index_range(stream, op.kName, "order", rows)};
  if (rows == 0) return;
  const Arguments<T> a{op.dY.data, op.gateUp.data, op.weights.data, order, rows, width, op.dGateUp.data, op.dWeights.data};
  cuda::with_row_team<T>(width, cuda::aligned(a.dY, a.gateUp, a.out), [&]<class Rows>(Rows) {
    cuda::launch(stream, backward<T, Rows>, cuda::blocks_for(rows, Rows::kRows), Rows::kBlock, a);
  });
}

}  // namespace g2rpo
