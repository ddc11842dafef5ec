// Products on tensor cores, beside sums in f64 of operands that were rounded to bf16.
#include "../../csrc/backends/cuda/tensor_gemm.cuh"

#include <cmath>

#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

float rounded(float x) { return widen(narrow(x)); }

void tensor_gemm(Harness& h) {
  const auto test = [&](size_t m, size_t n, size_t k, bool a_along, bool b_along, bool more, bool timing = false) {
    auto a = randoms<float>(m * k, 1, 1 / std::sqrt(static_cast<double>(k))), b = randoms<float>(n * k, 2), bias = randoms<float>(n, 3), c = randoms<float>(m * n, 4);
    const cuda::TensorProduct<float, float> p{m, n, k, a.at(Side::device), b.at(Side::device), a_along, b_along, c.at(Side::device),
                                              more ? bias.at(Side::device) : nullptr, nullptr, more};
    const std::string name = "tensor_gemm " + std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + (a_along ? ", A along" : ", A across") +
                             (b_along ? ", B along" : ", B across");
    if (timing) {
      h.time_call(name, static_cast<double>((m * k + n * k + m * n) * 4), [&](Stream& s) { cuda::tensor_multiply(s, p); }, 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k));
      return;
    }
    std::vector<float> wanted(m * n);
    for (size_t i = 0; i < m; i++)
      for (size_t j = 0; j < n; j++) {
        double sum = 0;
        for (size_t s = 0; s < k; s++)
          sum += static_cast<double>(rounded(a.host()[a_along ? i * k + s : s * m + i])) * static_cast<double>(rounded(b.host()[b_along ? j * k + s : s * n + j]));
        wanted[i * n + j] = static_cast<float>(sum + (more ? static_cast<double>(bias.host()[j]) + static_cast<double>(c.host()[i * n + j]) : 0));
      }
    h.run_call([&](Stream& s) { cuda::tensor_multiply(s, p); });
    std::copy(wanted.begin(), wanted.end(), c.at(Side::host));
    h.close(name, c, 1e-5);
  };
  for (const bool a_along : {true, false})
    for (const bool b_along : {true, false}) {
      test(1, 1, 1, a_along, b_along, false), test(130, 140, 72, a_along, b_along, true), test(40, 129, 100, a_along, b_along, false), test(16, 24, 2080, a_along, b_along, true);
      if (h.timed()) test(8192, 4096, 4096, a_along, b_along, false, true);
    }
}

const Registered registered("tensor_gemm", tensor_gemm);

}  // namespace
