#include "../../csrc/ops/normal_quantile/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

void normal_quantile(Harness& h) {
  std::vector<double> p{0, 1, 0.5, 1e-300, 5e-324, 1 - 1e-16, -1, 2, 0.075, 0.925};
  for (size_t i = 0; i < 10000; i++) p.push_back((static_cast<double>(i) + 0.5) / 10000);
  Array<double> in(std::move(p));
  auto out = zeros<double>(in.host().size());
  h.on_both<NormalQuantile>([&](Side s) { return NormalQuantile{in.view(s), out.view(s)}; });
  h.close("normal_quantile", out, 2e-15);
  if (!h.timed()) return;
  const size_t n = size_t{1} << 26;
  auto many = randoms<double>(n, 1, 0.05, 0.5);
  auto to = zeros<double>(n);
  h.time<NormalQuantile>("normal_quantile f64, 67,108,864", 16.0 * static_cast<double>(n), [&](Side s) { return NormalQuantile{many.view(s), to.view(s)}; });
}

const Registered registered("normal_quantile", normal_quantile);

}  // namespace
