// Products of warpgroups by themselves, one for each layout of an operand that kernels use: what is off on a device and not on the emulator is a descriptor.
#include <cmath>

#include "../../csrc/backends/cuda/panels.cuh"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

/** Rows of bf16 into a tile of panels, by all threads. */
template <int Width, int Rows> __device__ void bring(unsigned char* tile, const bf16* rows) {
  using P = cuda::Panels<Width>;
  for (int i = static_cast<int>(threadIdx.x); i < Rows * P::pieces; i += static_cast<int>(blockDim.x)) {
    const auto row = static_cast<unsigned>(i / P::pieces), piece = static_cast<unsigned>(i % P::pieces);
    reinterpret_cast<uint4*>(tile)[P::at(Rows, row, piece, row)] = reinterpret_cast<const uint4*>(rows)[i];
  }
}

template <int N> __device__ void put(const float (&sum)[N / 8][4], float* c) {
  const unsigned lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4;
  for (unsigned j = 0; j < N / 8; j++)
    for (unsigned e = 0; e < 4; e++) c[(row + e / 2 * 8) * N + 8 * j + lane % 4 * 2 + e % 2] = sum[j][e];
}

/** c[128, Rows] = a[128, Width] · b[Rows, Width]ᵀ, both in shared memory; two warpgroups. */
template <int Width, int Rows> __global__ void __launch_bounds__(256, 1) shared_by_shared(const bf16* a, const bf16* b, float* c) {
  if constexpr (cuda::kWarpgroupCode) {
    unsigned char *left = cuda::aligned_shared(), *right = left + 128 * Width * 2;
    bring<Width, 128>(left, a), bring<Width, Rows>(right, b);
    cuda::publish_to_products();
    __syncthreads();
    float sum[Rows / 8][4];
    cuda::begin_products();
    cuda::multiply_rows(sum, cuda::PanelTile<Width, 128>(left), threadIdx.x / 128 * 64, cuda::PanelTile<Width, Rows>(right));
    cuda::close_products();
    cuda::wait_for_products<0>();
    cuda::done(sum);
    put<Rows>(sum, c);
  }
}

/** c[64, Width] += a[64, Rows] · b[Rows, Width], a in registers; b comes by a bulk copy, as panels that lie so in memory. */
template <int Width, int Rows> __global__ void __launch_bounds__(128, 1) held_by_shared(const bf16* a, const uint4* b, float* c) {
  if constexpr (cuda::kWarpgroupCode) {
    __shared__ cuda::Barrier there;
    unsigned char* right = cuda::aligned_shared();
    if (threadIdx.x == 0) {
      cuda::begin_barrier(there, 1);
      cuda::publish_barriers();
      cuda::arrive_expecting(there, Rows * Width * 2);
      cuda::copy_bulk(right, b, Rows * Width * 2, there);
    }
    __syncthreads();
    const unsigned lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4;
    uint32_t held[Rows / 16][4];
    for (unsigned k = 0; k < Rows / 16; k++)
      for (unsigned q = 0; q < 4; q++) held[k][q] = *reinterpret_cast<const uint32_t*>(a + (row + q % 2 * 8) * Rows + 16 * k + q / 2 * 8 + lane % 4 * 2);
    float sum[Width / 8][4];
    for (unsigned j = 0; j < Width / 8; j++)
      for (unsigned e = 0; e < 4; e++) sum[j][e] = c[(row + e / 2 * 8) * Width + 8 * j + lane % 4 * 2 + e % 2];
    cuda::wait(there, 0);
    cuda::begin_products();
    cuda::add_weighted(sum, held, cuda::PanelTile<Width, Rows>(right));
    cuda::close_products();
    cuda::wait_for_products<0>();
    cuda::done(sum);
    put<Width>(sum, c);
  }
}

/** Panels of rows, as Panels has them. */
template <int Width> std::vector<bf16> in_panels(const std::vector<bf16>& rows) {
  using P = cuda::Panels<Width>;
  std::vector<bf16> panels(rows.size());
  const size_t count = rows.size() / Width;
  for (size_t r = 0; r < count; r++)
    for (unsigned p = 0; p < P::pieces; p++)
      std::copy_n(rows.begin() + static_cast<ptrdiff_t>(r * Width + 8 * p), 8, panels.begin() + static_cast<ptrdiff_t>(8 * P::at(count, r, p, static_cast<unsigned>(r))));
  return panels;
}

double value(const Array<bf16>& array, size_t i) { return static_cast<double>(widen(array.host()[i])); }

template <int Width, int Rows> void test(Harness& h) {
  const std::string shape = std::to_string(Rows) + " rows of " + std::to_string(Width);
  const auto product = [&](const std::string& name, Array<float>& c, const std::vector<float>& sums, const std::function<void(Stream&)>& call) {
    h.run_call(call);
    std::copy(sums.begin(), sums.end(), c.at(Side::host));
    h.close(name, c, 1e-4);  // tensor cores cut off what f32 does not hold, of parts that are larger than the sum
  };
  {
    auto a = random_weights<bf16, float>(128 * Width, 1), b = random_weights<bf16, float>(Rows * Width, 2);
    auto c = zeros<float>(128 * Rows);
    std::vector<float> sums(128 * Rows);
    for (size_t i = 0; i < 128; i++)
      for (size_t j = 0; j < Rows; j++) {
        double sum = 0;
        for (size_t k = 0; k < Width; k++) sum += value(a, i * Width + k) * value(b, j * Width + k);
        sums[i * Rows + j] = static_cast<float>(sum);
      }
    product("products of warpgroups, 128 rows times " + shape, c, sums, [&](Stream& s) {
      cuda::launch_shared(s, shared_by_shared<Width, Rows>, 1u, 256u, cuda::kPanelAlignment + (128 + Rows) * Width * 2, a.at(Side::device), b.at(Side::device), c.at(Side::device));
    });
  }
  auto a = random_weights<bf16, float>(64 * Rows, 3), b = random_weights<bf16, float>(Rows * Width, 4);
  Array<bf16> panels(in_panels<Width>(b.host()));
  auto c = randoms<float>(64 * Width, 5);
  std::vector<float> sums = c.host();
  for (size_t i = 0; i < 64; i++)
    for (size_t j = 0; j < Width; j++) {
      double sum = static_cast<double>(sums[i * Width + j]);
      for (size_t k = 0; k < Rows; k++) sum += value(a, i * Rows + k) * value(b, k * Width + j);
      sums[i * Width + j] = static_cast<float>(sum);
    }
  product("products of warpgroups, weights times " + shape, c, sums, [&](Stream& s) {
    cuda::launch_shared(s, held_by_shared<Width, Rows>, 1u, 128u, cuda::kPanelAlignment + Rows * Width * 2, a.at(Side::device), reinterpret_cast<const uint4*>(panels.at(Side::device)),
                        c.at(Side::device));
  });
}

const Registered registered("warpgroup", [](Harness& h) {
  h.with_warpgroups([&] { test<64, 64>(h), test<64, 128>(h), test<80, 64>(h), test<80, 128>(h), test<128, 64>(h), test<128, 128>(h); });
});

}  // namespace
