// Products on tensor cores and by cuBLASLt, beside sums in f64 of operands that were rounded to bf16.
#include <cmath>

#include "../../csrc/backends/cuda/tensor_pipeline.cuh"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

/** A product of m × n × k, its operands as f32 and as bf16. */
struct Case {
  size_t m, n, k;
  bool a_along, b_along, more;
  Array<float> a, b, bias, c;
  Array<bf16> a_narrow, b_narrow;

  Case(size_t m, size_t n, size_t k, bool a_along, bool b_along, bool more)
      : m(m), n(n), k(k), a_along(a_along), b_along(b_along), more(more), a(randoms<float>(m * k, 1, scale())), b(randoms<float>(n * k, 2)), bias(randoms<float>(n, 3)),
        c(randoms<float>(m * n, 4)), a_narrow(random_weights<bf16, float>(m * k, 1, scale())), b_narrow(random_weights<bf16, float>(n * k, 2)) {}
  double scale() const { return 1 / std::sqrt(static_cast<double>(k)); }
  std::string name(const char* what) const {
    return std::string(what) + " " + std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + (a_along ? ", A along" : ", A across") +
           (b_along ? ", B along" : ", B across");
  }
  template <class T> cuda::TensorProduct<T, T> product(Array<T>& left, Array<T>& right) {
    return {m, n, k, left.at(Side::device), right.at(Side::device), a_along, b_along, c.at(Side::device), more ? bias.at(Side::device) : nullptr, nullptr, more};
  }
  cuda::BlasProduct by_blas(DType type) {
    const bool narrow = type == DType::bf16;
    return {type, m, n, k, narrow ? static_cast<const void*>(a_narrow.at(Side::device)) : a.at(Side::device),
            narrow ? static_cast<const void*>(b_narrow.at(Side::device)) : b.at(Side::device), a_along, b_along, c.at(Side::device), DType::f32,
            more ? bias.at(Side::device) : nullptr, more ? c.at(Side::device) : nullptr};
  }

  /** What C must become, with or without the bias, of operands as they are or rounded. */
  std::vector<float> wanted(bool with_bias, bool rounded) const {
    const auto value = [&](float x) { return static_cast<double>(rounded ? widen(narrow(x)) : x); };
    std::vector<float> sums(m * n);
    for (size_t i = 0; i < m; i++)
      for (size_t j = 0; j < n; j++) {
        double sum = 0;
        for (size_t s = 0; s < k; s++) sum += value(a.host()[a_along ? i * k + s : s * m + i]) * value(b.host()[b_along ? j * k + s : s * n + j]);
        if (more) sum += static_cast<double>(c.host()[i * n + j]) + (with_bias ? static_cast<double>(bias.host()[j]) : 0);
        sums[i * n + j] = static_cast<float>(sum);
      }
    return sums;
  }
};

void compare(Harness& h, const std::string& name, Case& with, const std::vector<float>& wanted, const std::function<void(Stream&)>& call) {
  const std::vector<float> before = with.c.host();
  with.c.upload();
  h.run_call(call);
  std::copy(wanted.begin(), wanted.end(), with.c.at(Side::host));
  h.close(name, with.c, 3e-5);  // tensor cores cut off what f32 does not hold
  std::copy(before.begin(), before.end(), with.c.at(Side::host));
}

void time(Harness& h, const std::string& name, const Case& with, size_t each, const std::function<void(Stream&)>& call) {
  const double m = static_cast<double>(with.m), n = static_cast<double>(with.n), k = static_cast<double>(with.k);
  h.time_call(name, (m * k + n * k) * static_cast<double>(each) + m * n * 4, call, 2 * m * n * k);
}

void tensor_gemm(Harness& h) {
  const auto pipelined = [&]<class Tile>(const char* name, Case& with, Tile) {
    const auto p = with.product(with.a_narrow, with.b_narrow);
    const auto start = with.a_along ? (with.b_along ? cuda::start_pipelined<Tile, true, true> : cuda::start_pipelined<Tile, true, false>)
                                    : (with.b_along ? cuda::start_pipelined<Tile, false, true> : cuda::start_pipelined<Tile, false, false>);
    compare(h, with.name(name), with, with.wanted(true, true), [&](Stream& s) { start(s, p); });
  };
  const auto test = [&](size_t m, size_t n, size_t k, bool a_along, bool b_along, bool more) {
    Case with(m, n, k, a_along, b_along, more);
    const auto p = with.product(with.a, with.b);
    const auto narrow = with.product(with.a_narrow, with.b_narrow);
    const auto wanted = with.wanted(true, true);
    compare(h, with.name("tensor_gemm f32"), with, wanted, [&](Stream& s) { cuda::tensor_multiply(s, p); });
    compare(h, with.name("tensor_gemm bf16"), with, wanted, [&](Stream& s) { cuda::tensor_multiply(s, narrow); });
    if (!with.by_blas(DType::bf16).whole()) return;
    pipelined("tensor_pipeline, small tiles", with, cuda::SmallTile{}), pipelined("tensor_pipeline, large tiles", with, cuda::LargeTile{});
    if (!cuda::blas_found().loaded) return;
    for (const DType type : {DType::bf16, DType::f32}) {
      if (!cuda::goes_to_blas(h.device(), with.by_blas(type))) continue;  // such as the emulated library knows nothing for
      compare(h, with.name(type == DType::f32 ? "cuBLASLt f32" : "cuBLASLt bf16"), with, with.wanted(true, type == DType::bf16),
              [&](Stream& s) { cuda::multiply_by_blas(s, with.by_blas(type)); });
    }
  };
  for (const bool a_along : {true, false})
    for (const bool b_along : {true, false}) {
      test(1, 1, 1, a_along, b_along, false), test(130, 140, 72, a_along, b_along, true), test(40, 129, 100, a_along, b_along, false), test(16, 24, 2080, a_along, b_along, true);
      test(136, 264, 40, a_along, b_along, true), test(8, 8, 8, a_along, b_along, false), test(72, 128, 2136, a_along, b_along, false);
      if (!h.timed()) continue;
      Case with(8192, 4096, 4096, a_along, b_along, false);
      time(h, with.name("tensor_gemm f32"), with, 4, [&](Stream& s) { cuda::tensor_multiply(s, with.product(with.a, with.b)); });
      time(h, with.name("tensor_pipeline"), with, 2, [&](Stream& s) { cuda::multiply_pipelined(s, with.product(with.a_narrow, with.b_narrow)); });
      if (!cuda::blas_found().loaded) continue;
      time(h, with.name("cuBLASLt bf16"), with, 2, [&](Stream& s) { cuda::multiply_by_blas(s, with.by_blas(DType::bf16)); });
      time(h, with.name("cuBLASLt f32"), with, 4, [&](Stream& s) { cuda::multiply_by_blas(s, with.by_blas(DType::f32)); });
    }
}

const Registered registered("tensor_gemm", tensor_gemm);

}  // namespace
