// Layers of decoding that are joined, beside the same ops one by one on the CPU.
#include "../../csrc/ops/decode_layer/op.h"
#include "../../csrc/backends/cuda/thin_product.h"

#include <cmath>

#include "../../csrc/ops/linear/op.h"
#include "../../csrc/ops/rms_norm/op.h"
#include "../../csrc/ops/rotary/op.h"
#include "../../csrc/ops/swiglu/op.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

// activations are rounded to bf16 where two roundings of f32 may fall on either side; a number that is wrong is off by 1
constexpr double kRounded = 2e-2;

struct Layer {
  DecodeSizes s;
  size_t slots_there;
  Array<float> x, attended, input_norm, q_norm, k_norm, post_norm, next_norm, cosine, sine;
  Array<bf16> q, k, v, o, gate, up, down;
  Array<int32_t> slots;
  Array<float> normed, rstd, query, key, keys, values, last;
  // the device's alone
  Array<bf16> arranged, narrow, arranged_attended;
  Array<float> sums;

  explicit Layer(const DecodeSizes& sizes) : s(sizes), slots_there(s.rows + 5) {
    const auto weight = [](size_t n, size_t k, unsigned seed) { return random_weights<bf16, float>(n * k, seed, 1 / std::sqrt(static_cast<double>(k))); };
    const size_t h = s.hidden, qs = s.query_size(), ks = s.key_size();
    x = randoms<float>(s.rows * h, 1), attended = rounded_for<bf16>(randoms<float>(s.rows * qs, 2));
    input_norm = randoms<float>(h, 3, 0.2, 1), q_norm = randoms<float>(s.width, 4, 0.2, 1), k_norm = randoms<float>(s.width, 5, 0.2, 1);
    post_norm = randoms<float>(h, 6, 0.2, 1), next_norm = randoms<float>(h, 7, 0.2, 1);
    cosine = randoms<float>(s.rows * s.width / 2, 8), sine = randoms<float>(s.rows * s.width / 2, 9);
    q = weight(qs, h, 10), k = weight(ks, h, 11), v = weight(ks, h, 12), o = weight(h, qs, 13);
    gate = weight(s.mlp, h, 14), up = weight(s.mlp, h, 15), down = weight(h, s.mlp, 16);
    std::vector<int32_t> order(s.rows);
    for (size_t i = 0; i < s.rows; i++) order[i] = static_cast<int32_t>((i + 3) % slots_there);
    slots = Array<int32_t>(std::move(order));
    normed = zeros<float>(s.rows * h), rstd = zeros<float>(s.rows * s.heads + s.rows), query = zeros<float>(s.rows * qs), key = zeros<float>(s.rows * ks);
    keys = randoms<float>(slots_there * ks, 17), values = randoms<float>(slots_there * ks, 18), last = zeros<float>(s.rows * h);
    arranged = zeros<bf16>(s.rows * h), narrow = zeros<bf16>(s.rows * s.mlp), arranged_attended = zeros<bf16>(s.rows * qs), sums = zeros<float>(s.sums());
  }

  /** What attention leaves. */
  void arrange(Stream& stream) {
    cuda::arrange_rows(stream, static_cast<const float*>(attended.at(Side::device)), s.rows, s.query_size(), arranged_attended.at(Side::device));
  }

  void on_device(Stream& stream, const std::function<void(Stream&, const char*, const void*)>& run, bool with_last) {
    const auto at = [](auto& array) { return array.at(Side::device); };
    const DecodeBegin begin{s, at(x), at(input_norm), at(arranged)};
    const DecodeHeads heads{s,          at(arranged), at(q),     at(k),    at(v),     at(q_norm), at(k_norm),
                                  at(cosine), at(sine),     at(slots), at(sums), at(query), at(keys),   at(values)};
    const DecodeRest rest{s,     at(arranged_attended), at(o),        at(gate),   at(up), at(down), at(post_norm), at(next_norm),
                                at(x), at(sums),     at(arranged), at(narrow), with_last ? at(last) : nullptr};
    run(stream, DecodeBegin::kName, &begin), run(stream, DecodeHeads::kName, &heads), run(stream, DecodeRest::kName, &rest);
  }

  void on_host(Harness& h) {
    const auto run = [&](const auto& op) { h.on_host(op); };
    const auto at = [](auto& array) { return array.at(Side::host); };
    const auto round = [](Array<float>& array) {
      for (size_t i = 0; i < array.host().size(); i++) array.at(Side::host)[i] = widen(narrow_of(array.host()[i]));
    };
    const size_t n = s.rows, w = s.width, qs = s.query_size(), ks = s.key_size();
    const auto norm = [&](float* from, size_t rows, size_t size, Array<float>& weight, float* to) {
      run(RmsNorm<float>{View<const float>(from, rows, size), View<const float>(at(weight), size), s.epsilon, View<float>(to, rows, size),
                         View<float>(at(rstd), rows)});
    };
    const auto linear = [&](float* from, size_t in, Array<bf16>& weight, size_t out, float* to, const float* residual) {
      Linear<float, bf16> op{View<const float>(from, n, in), View<const bf16>(at(weight), out, in), {}, {}, {}, View<float>(to, n, out)};
      if (residual) op.residual = View<const float>(residual, n, out);
      run(op);
    };
    const auto rotate = [&](float* of, size_t heads) {
      run(Rotary<float>{View<const float>(at(cosine), n, w / 2), View<const float>(at(sine), n, w / 2), View<float>(of, n, heads, w), false});
    };
    norm(at(x), n, s.hidden, input_norm, at(normed)), round(normed);
    std::vector<float> value(n * ks);
    linear(at(normed), s.hidden, q, qs, at(query), nullptr), linear(at(normed), s.hidden, k, ks, at(key), nullptr);
    linear(at(normed), s.hidden, v, ks, value.data(), nullptr);
    norm(at(query), n * s.heads, w, q_norm, at(query)), norm(at(key), n * s.key_heads, w, k_norm, at(key));
    rotate(at(query), s.heads), rotate(at(key), s.key_heads);
    for (size_t i = 0; i < n; i++) {
      const size_t to = static_cast<size_t>(slots.host()[i]) * ks;
      std::copy_n(at(key) + i * ks, ks, at(keys) + to), std::copy_n(value.begin() + static_cast<std::ptrdiff_t>(i * ks), ks, at(values) + to);
    }
    linear(at(attended), qs, o, s.hidden, at(x), at(x));
    norm(at(x), n, s.hidden, post_norm, at(normed)), round(normed);
    auto opened = zeros<float>(n * s.mlp), upper = zeros<float>(n * s.mlp);
    linear(at(normed), s.hidden, gate, s.mlp, at(opened), nullptr), linear(at(normed), s.hidden, up, s.mlp, at(upper), nullptr);
    run(SwiGlu<float>{View<const float>(at(opened), n, s.mlp), View<const float>(at(upper), n, s.mlp), View<float>(at(opened), n, s.mlp)});
    round(opened);
    linear(at(opened), s.mlp, down, s.hidden, at(x), at(x));
    norm(at(x), n, s.hidden, next_norm, at(last));
  }
  static bf16 narrow_of(float x) { return g2rpo::narrow(x); }
};

void decode_layer(Harness& h) {
  const auto run = [](Stream& stream, const char* name, const void* op) { find_kernel(name, Backend::cuda, DType::f32)->run(stream, op); };
  const auto test = [&](const DecodeSizes& s) {
    h.expect(s.joined(), "decode_layer: sizes that cannot be joined");
    Layer a(s);
    const std::string name = "decode_layer of " + std::to_string(s.rows) + " rows, " + std::to_string(s.hidden) + ", " + std::to_string(s.heads) + " of " +
                             std::to_string(s.key_heads) + " heads of " + std::to_string(s.width) + ", " + std::to_string(s.mlp);
    h.run_call([&](Stream& stream) { a.arrange(stream), a.on_device(stream, run, true); });
    a.on_host(h);
    h.close(name + ": queries", a.query, kRounded), h.close(name + ": keys", a.keys, kRounded), h.close(name + ": values", a.values, kRounded);
    h.close(name + ": x", a.x, kRounded), h.close(name + ": the last norm", a.last, kRounded);
    // the first row alone: its bits
    const auto all = a.x.download();
    DecodeSizes one = s;
    one.rows = 1;
    Layer b(one);
    std::copy_n(Layer(s).x.host().begin(), s.hidden, b.x.at(Side::host)), b.x.upload();
    std::copy_n(a.attended.host().begin(), s.query_size(), b.attended.at(Side::host)), b.attended.upload();
    h.run_call([&](Stream& stream) { b.arrange(stream), b.on_device(stream, run, false); });
    const auto alone = b.x.download();
    h.expect(std::equal(alone.begin(), alone.end(), all.begin()), name + ": a row has other bits alone");
  };
  test({1, 64, 2, 1, 32, 96, 1e-6}), test({3, 96, 4, 2, 64, 160, 1e-6}), test({17, 288, 3, 3, 128, 544, 1e-5}), test({40, 64, 4, 1, 32, 32, 1e-6});
  test({2, 2080, 2, 1, 128, 1088, 1e-6});
  if (!h.timed()) return;
  for (const size_t rows : {1, 16, 64})
    for (const auto& s : {DecodeSizes{rows, 2048, 16, 8, 128, 6144, 1e-6}, DecodeSizes{rows, 4096, 32, 8, 128, 12288, 1e-6}}) {
      Layer a(s);
      const size_t weights = s.hidden * (2 * s.query_size() + 2 * s.key_size() + 3 * s.mlp);
      h.time_call("decode_layer without attention, " + std::to_string(rows) + " rows, " + std::to_string(s.hidden), 2.0 * static_cast<double>(weights),
                  [&](Stream& stream) { a.on_device(stream, run, false); });
    }
}

const Registered registered("decode_layer", decode_layer);

}  // namespace
