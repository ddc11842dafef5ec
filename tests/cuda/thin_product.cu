// Few rows times matrices side by side, beside sums in f64 of operands that were rounded to bf16.
#include "../../csrc/backends/cuda/thin_product.h"

#include <cmath>

#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

struct Side3 {
  size_t m, k;
  std::vector<size_t> columns;
  Array<float> a;
  std::vector<Array<bf16>> b;

  Side3(size_t m, size_t k, std::vector<size_t> n) : m(m), k(k), columns(std::move(n)), a(randoms<float>(m * k, 1, 1 / std::sqrt(static_cast<double>(k)))) {
    for (size_t i = 0; i < columns.size(); i++) b.push_back(random_weights<bf16, float>(columns[i] * k, static_cast<unsigned>(2 + i)));
  }
  cuda::ThinProduct product(const bf16* rows) {
    cuda::ThinProduct p{m, k, rows, {}};
    for (size_t i = 0; i < columns.size(); i++) p.matrices[i] = {b[i].at(Side::device), columns[i]};
    return p;
  }
  /** All parts added up, of the first `rows` rows. */
  std::vector<float> sums(Harness& h, size_t rows) {
    m = rows;
    auto arranged = zeros<bf16>(m * cuda::thin_stride(k));
    const auto p = product(arranged.at(Side::device));
    auto partials = randoms<float>(p.parts() * m * p.n(), 9);
    h.run_call([&](Stream& s) {
      cuda::arrange_rows(s, static_cast<const float*>(a.at(Side::device)), m, k, arranged.at(Side::device));
      cuda::multiply_thin(s, p, partials.at(Side::device));
    });
    const auto got = partials.download();
    std::vector<float> sums(m * p.n());
    for (size_t s = 0; s < p.parts(); s++)
      for (size_t i = 0; i < sums.size(); i++) sums[i] += got[s * sums.size() + i];
    return sums;
  }
  std::vector<float> wanted() const {
    std::vector<float> all;
    for (size_t r = 0; r < m; r++)
      for (size_t i = 0; i < columns.size(); i++)
        for (size_t c = 0; c < columns[i]; c++) {
          double sum = 0;
          for (size_t s = 0; s < k; s++) sum += static_cast<double>(widen(narrow(a.host()[r * k + s]))) * static_cast<double>(widen(b[i].host()[c * k + s]));
          all.push_back(static_cast<float>(sum));
        }
    return all;
  }
};

void thin_product(Harness& h) {
  const auto test = [&](size_t m, size_t k, const std::vector<size_t>& n) {
    Side3 with(m, k, n);
    std::string name = "thin_product " + std::to_string(m) + " x " + std::to_string(k);
    for (const size_t each : n) name += " x " + std::to_string(each);
    const auto all = with.sums(h, m);
    Array<float> got(all), wanted(with.wanted());
    std::copy(wanted.host().begin(), wanted.host().end(), got.at(Side::host));
    h.close(name, got, 3e-5);  // tensor cores cut off what f32 does not hold
    // a row has the same bits whatever stands beside it
    for (const size_t rows : {size_t{1}, m / 2, m - 1}) {
      if (rows == 0) continue;
      const auto some = with.sums(h, rows);
      h.expect(std::equal(some.begin(), some.end(), all.begin()), name + ": other bits beside fewer rows");
    }
  };
  test(1, 8, {1}), test(2, 40, {5, 129, 3}), test(9, 520, {128, 64, 64}), test(17, 72, {130}), test(33, 1096, {16, 8}), test(64, 544, {140, 1});
  if (!h.timed()) return;
  const auto time = [&](size_t m, size_t k, const std::vector<size_t>& n) {
    Side3 with(m, k, n);
    auto rows = zeros<bf16>(m * k);
    const auto p = with.product(rows.at(Side::device));
    auto partials = zeros<float>(p.parts() * m * p.n());
    const double columns = static_cast<double>(p.n()), of_rows = static_cast<double>(m), depth = static_cast<double>(k);
    h.time_call("thin_product " + std::to_string(m) + " x " + std::to_string(k) + " x " + std::to_string(p.n()) + ", " + std::to_string(p.parts()) + " parts",
                2 * (columns + of_rows) * depth + 4 * of_rows * columns, [&](Stream& s) { cuda::multiply_thin(s, p, partials.at(Side::device)); },
                2 * of_rows * columns * depth);
  };
  for (const size_t m : {1, 16, 64}) {
    time(m, 2048, {2048, 1024, 1024}), time(m, 2048, {2048}), time(m, 2048, {6144, 6144}), time(m, 6144, {2048});
    time(m, 4096, {4096, 1024, 1024}), time(m, 4096, {4096}), time(m, 4096, {12288, 12288}), time(m, 12288, {4096}), time(m, 4096, {151936});
  }
}

const Registered registered("thin_product", thin_product);

}  // namespace
