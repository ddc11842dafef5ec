#include "../../csrc/ops/attention/op.h"

#include <cmath>

#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

struct Segment {
  size_t rows;
  int32_t prefix = -1;
};

/** What the device is given and what the CPU is: the same, or, where the device rounds to bf16 by itself, that rounded. */
template <class T> struct Operand {
  Array<T> given, known;
  View<T> view(Side s, size_t rows, size_t heads, size_t width) { return (s == Side::host ? known : given).view(s, rows, heads, width); }
  T* at(Side s) { return (s == Side::host ? known : given).at(s); }
  size_t size() const { return given.host().size(); }
};

/** Head sizes that tensor cores have kernels for. */
bool on_tensor_cores(size_t width) { return width == 64 || width == 72 || width == 80 || width == 128; }

struct Tolerance {
  double output, log_sum_exp, gradient;
};
/**
 * On tensor cores weights are rounded to bf16 too, by 2⁻⁹ of themselves at most: an output is a mean of values, with an error of 2⁻⁹ of their size. Gradients sum such
 * products, and those of a key as many weights of order one as heads and first rows see it: an error of some 2⁻⁸. What is summed for logSumExp is not rounded.
 */
template <class T> Tolerance tolerance_of(bool in_bf16, size_t width) {
  if (in_bf16 && on_tensor_cores(width)) return {5e-3, kTolerance<T>, 2e-2};
  return {kTolerance<T>, kTolerance<T>, 4 * kTolerance<T>};
}

template <class T> void attention(Harness& h, bool in_bf16, const std::string& by = "") {
  const auto named = [&](const char* op) { return typed<T>(op) + (in_bf16 ? " in bf16" : "") + by + " "; };
  const auto operand = [&](size_t n, unsigned seed, size_t width) {
    if (!in_bf16) return Operand<T>{randoms<T>(n, seed), randoms<T>(n, seed)};
    auto known = rounded_for<bf16>(randoms<T>(n, seed));
    return Operand<T>{on_tensor_cores(width) ? randoms<T>(n, seed) : Array<T>(known.host()), std::move(known)};
  };
  const auto test = [&](const std::string& what, const std::vector<Segment>& segments, size_t heads, size_t key_heads, size_t width, bool causal,
                        bool timing = false) {
    std::vector<int32_t> starts{0}, prefixes;
    double seen = 0;  // pairs of a query and a key
    for (const auto& s : segments) {
      starts.push_back(starts.back() + static_cast<int32_t>(s.rows)), prefixes.push_back(s.prefix);
      const double n = static_cast<double>(s.rows), p = s.prefix < 0 ? 0 : static_cast<double>(segments[static_cast<size_t>(s.prefix)].rows);
      seen += n * p + (causal ? n * (n + 1) / 2 : n * n);
    }
    const auto rows = static_cast<size_t>(starts.back());
    Array<int32_t> segment_starts(starts), segment_prefix(prefixes);
    auto q = operand(rows * heads * width, 1, width), k = operand(rows * key_heads * width, 2, width), v = operand(rows * key_heads * width, 3, width);
    auto d_output = operand(q.size(), 4, width);
    auto output = zeros<T>(q.size()), lse = zeros<T>(rows * heads), dq = zeros<T>(q.size()), dk = zeros<T>(k.size()), dv = zeros<T>(v.size());
    const Tolerance tolerance = tolerance_of<T>(in_bf16, width);
    const double scale = 1 / std::sqrt(static_cast<double>(width));
    const std::function<Attention<T>(Side)> forward = [&](Side s) {
      Attention<T> op{q.view(s, rows, heads, width), k.view(s, rows, key_heads, width), v.view(s, rows, key_heads, width), segment_starts.view(s),
                      segment_prefix.view(s), causal, scale, output.view(s, rows, heads, width), lse.view(s, rows, heads)};
      op.in_bf16 = in_bf16;
      return op;
    };
    const std::function<AttentionBackward<T>(Side)> backward = [&](Side s) {
      AttentionBackward<T> op{d_output.view(s, rows, heads, width), q.view(s, rows, heads, width), k.view(s, rows, key_heads, width),
                              v.view(s, rows, key_heads, width), output.view(s, rows, heads, width), lse.view(s, rows, heads), segment_starts.view(s),
                              segment_prefix.view(s), causal, scale,
                              dq.view(s, rows, heads, width), dk.view(s, rows, key_heads, width), dv.view(s, rows, key_heads, width)};
      op.in_bf16 = in_bf16;
      return op;
    };
    if (timing) {
      const double flops = 4 * seen * static_cast<double>(heads * width), bytes = static_cast<double>((2 * q.size() + 2 * k.size()) * sizeof(T));
      h.time<Attention<T>>(named("attention") + what, bytes, forward, flops);
      h.time<AttentionBackward<T>>(named("attention_backward") + what, 2 * bytes, backward, 2.5 * flops);
      return;
    }
    h.on_both<Attention<T>>(forward);
    h.close(named("attention") + what, output, tolerance.output);
    h.close(named("attention") + what + ": logSumExp", lse, tolerance.log_sum_exp);
    if (rows > 200) h.repeats<Attention<T>, T>(named("attention") + what, output, forward);
    h.on_both<AttentionBackward<T>>(backward);
    h.close(named("attention_backward") + what + ": dQuery", dq, tolerance.gradient);
    h.close(named("attention_backward") + what + ": dKey", dk, tolerance.gradient);
    h.close(named("attention_backward") + what + ": dValue", dv, tolerance.gradient);
    if constexpr (sizeof(T) == 4)
      if (in_bf16 && rows <= 200) {  // output and dOutput in bf16: the bits of those in f32 that are the same numbers
        constexpr Side d = Side::device;
        auto narrow_output = zeros<bf16>(q.size());
        auto of_output = forward(d);
        of_output.output.data = nullptr, of_output.narrow_output = narrow_output.at(d);
        h.on_device(of_output);
        h.rounds(named("attention") + what + ": output in bf16", output, narrow_output);
        std::vector<bf16> rounded;
        std::vector<T> wide_d_output, wide_output;
        for (const T x : d_output.given.host()) rounded.push_back(narrow(x)), wide_d_output.push_back(widen(rounded.back()));
        for (const bf16 x : narrow_output.download()) wide_output.push_back(widen(x));
        Array<bf16> narrow_d_output(std::move(rounded));
        Array<T> d_out(std::move(wide_d_output)), out(std::move(wide_output));
        auto of_wide = backward(d);
        of_wide.dOutput.data = d_out.at(d), of_wide.output.data = out.at(d);
        auto dq_again = zeros<T>(q.size()), dk_again = zeros<T>(k.size()), dv_again = zeros<T>(v.size());
        auto of_narrow = of_wide;
        of_narrow.dOutput.data = of_narrow.output.data = nullptr, of_narrow.narrow_dOutput = narrow_d_output.at(d), of_narrow.narrow_output = narrow_output.at(d);
        of_narrow.dQuery.data = dq_again.at(d), of_narrow.dKey.data = dk_again.at(d), of_narrow.dValue.data = dv_again.at(d);
        h.on_device(of_wide), h.on_device(of_narrow);
        h.same(named("attention_backward") + what + ": dQuery in bf16", dq, dq_again);
        h.same(named("attention_backward") + what + ": dKey in bf16", dk, dk_again), h.same(named("attention_backward") + what + ": dValue in bf16", dv, dv_again);
        auto narrow_dv = zeros<bf16>(v.size());
        of_narrow.dValue.data = nullptr, of_narrow.narrow_dValue = narrow_dv.at(d);
        h.on_device(of_narrow);
        h.rounds(named("attention_backward") + what + ": dValue left in bf16", dv, narrow_dv);
      }
    if (rows > 200) h.repeats<AttentionBackward<T>, T>(named("attention_backward") + what, std::vector<Array<T>*>{&dq, &dk, &dv}, backward);
  };
  test("one row", {{1}}, 1, 1, 8, true);
  test("ragged", {{5}, {0}, {70}, {1}, {33}}, 4, 2, 16, true);
  test("ragged, all see all", {{5}, {70}, {0}, {129}}, 2, 2, 24, false);
  test("responses behind prompts", {{40}, {3}, {7, 0}, {9, 0}, {1, 1}, {0, 0}, {65, 0}, {66, 1}}, 4, 1, 32, true);
  test("heads of 72", {{130}}, 3, 3, 72, false);
  test("heads of 128", {{150}, {20, 0}}, 4, 2, 128, true);
  test("heads of 200", {{40}, {9, 0}}, 2, 1, 200, true);
  test("nothing", {}, 2, 1, 8, true);
  if (in_bf16) {
    for (const size_t width : {size_t{64}, size_t{72}, size_t{80}, size_t{128}}) {
      const std::string heads = ", heads of " + std::to_string(width);
      test("one row" + heads, {{1}}, 1, 1, width, true);
      test("ragged" + heads, {{5}, {0}, {70}, {1}, {33}}, 4, 2, width, true);
      test("ragged, all see all" + heads, {{5}, {70}, {0}, {129}}, 2, 2, width, false);
      test("responses behind prompts" + heads, {{40}, {3}, {7, 0}, {9, 0}, {1, 1}, {0, 0}, {65, 0}, {66, 1}}, 4, 1, width, true);
      test("seven heads of a key head" + heads, {{90}, {130}, {20, 1}, {64, 1}}, 7, 1, width, true);
    }
    test("many tiles", {{300}, {150, 0}, {128, 0}}, 4, 2, 64, true);
    test("many tiles, all see all", {{300}, {150, 0}}, 2, 2, 128, false);
    test("a prefix of whole tiles, seen by 40", std::vector<Segment>([] {
           std::vector<Segment> group(41, {3, 0});
           group[0] = {128};
           return group;
         }()), 2, 1, 64, true);
    // blocks of warpgroups stay and take one piece of work after another: twice as many as there are blocks, and more
    std::vector<Segment> pieces;
    for (size_t z = 0; z < cuda::processors() + 2; z++) pieces.push_back({std::array<size_t, 4>{3, 129, 5, 40}[z % 4]});
    for (const size_t width : {size_t{64}, size_t{72}, size_t{80}, size_t{128}}) test("more work than processors, heads of " + std::to_string(width), pieces, 2, 2, width, true);
    test("nothing, heads of 64", {}, 2, 1, 64, true);
  }
  const auto in_one_matrix = [&](size_t rows, size_t heads, size_t width) {  // query, key and value side by side, as the vision tower has them
    const size_t n = heads * width;
    Array<int32_t> segment_starts(std::vector<int32_t>{0, static_cast<int32_t>(rows / 3), static_cast<int32_t>(rows)}), segment_prefix(std::vector<int32_t>{-1, -1});
    auto qkv = operand(rows * 3 * n, 5, width), d_output = operand(rows * n, 6, width);
    auto output = zeros<T>(rows * n), lse = zeros<T>(rows * heads), d_qkv = zeros<T>(rows * 3 * n);
    const Tolerance tolerance = tolerance_of<T>(in_bf16, width);
    const auto part = [&](auto& all, Side s, size_t i) { return View<T>(all.at(s) + i * n, rows, heads, width); };
    h.on_both<Attention<T>>([&](Side s) {
      Attention<T> op{part(qkv, s, 0), part(qkv, s, 1), part(qkv, s, 2), segment_starts.view(s), segment_prefix.view(s), false, 0.3, output.view(s, rows, heads, width), lse.view(s, rows, heads)};
      op.query_stride = op.key_stride = 3 * n;
      op.in_bf16 = in_bf16;
      return op;
    });
    h.close(named("attention") + "in one matrix", output, tolerance.output);
    h.on_both<AttentionBackward<T>>([&](Side s) {
      AttentionBackward<T> op{d_output.view(s, rows, heads, width), part(qkv, s, 0), part(qkv, s, 1), part(qkv, s, 2), output.view(s, rows, heads, width), lse.view(s, rows, heads),
                              segment_starts.view(s), segment_prefix.view(s), false, 0.3, part(d_qkv, s, 0), part(d_qkv, s, 1), part(d_qkv, s, 2)};
      op.query_stride = op.key_stride = 3 * n;
      op.in_bf16 = in_bf16;
      return op;
    });
    h.close(named("attention_backward") + "in one matrix", d_qkv, tolerance.gradient);
  };
  in_one_matrix(100, 3, 24);
  if (in_bf16) in_one_matrix(100, 3, 64), in_one_matrix(200, 2, 72);
  const auto behind_cached_keys = [&](size_t past, size_t rows, size_t heads, size_t key_heads, size_t width) {
    const auto end = static_cast<int32_t>(past + rows), mine = static_cast<int32_t>(past);
    Array<int32_t> segment_starts(std::vector<int32_t>{0, mine, end - 7, end}), segment_prefix(std::vector<int32_t>{-1, 0, -1});
    auto q = operand(rows * heads * width, 7, width), k = operand((past + rows) * key_heads * width, 8, width), v = operand((past + rows) * key_heads * width, 9, width);
    auto output = zeros<T>(rows * heads * width), lse = zeros<T>(rows * heads);
    const Tolerance tolerance = tolerance_of<T>(in_bf16, width);
    h.on_both<Attention<T>>([&](Side s) {
      Attention<T> op{q.view(s, rows, heads, width), k.view(s, past + rows, key_heads, width), v.view(s, past + rows, key_heads, width), segment_starts.view(s),
                      segment_prefix.view(s), true, 0.3, output.view(s, rows, heads, width), lse.view(s, rows, heads)};
      op.keys_before = past;
      op.in_bf16 = in_bf16;
      return op;
    });
    h.close(named("attention") + "behind cached keys", output, tolerance.output);
    h.close(named("attention") + "behind cached keys: logSumExp", lse, tolerance.log_sum_exp);
  };
  behind_cached_keys(128, 50, 4, 2, 16);
  if (in_bf16) behind_cached_keys(128, 50, 4, 2, 64), behind_cached_keys(130, 70, 4, 2, 128);
  const auto refused = [&](const std::string& what, const char* code, std::vector<int32_t> starts, std::vector<int32_t> prefixes, size_t heads, size_t key_heads) {
    const size_t width = in_bf16 ? 64 : 8;
    auto q = randoms<T>(6 * heads * width, 1), k = randoms<T>(6 * key_heads * width, 2), output = zeros<T>(6 * heads * width), lse = zeros<T>(6 * heads);
    Array<int32_t> segment_starts(std::move(starts)), segment_prefix(std::move(prefixes));
    h.both_refuse<Attention<T>>(named("attention") + "of " + what, code, [&](Side s) {
      Attention<T> op{q.view(s, 6, heads, width), k.view(s, 6, key_heads, width), k.view(s, 6, key_heads, width), segment_starts.view(s), segment_prefix.view(s), true, 1, output.view(s, 6, heads, width), lse.view(s, 6, heads)};
      op.in_bf16 = in_bf16;
      return op;
    });
  };
  refused("starts that fall", "INVALID_ARGUMENT", {0, 4, 2, 6}, {-1, -1, -1}, 2, 1);
  refused("starts that end too soon", "INVALID_ARGUMENT", {0, 4}, {-1}, 2, 1);
  refused("rows but no segments", "INVALID_ARGUMENT", {0}, {}, 2, 1);
  refused("a prefix that has one", "INVALID_ARGUMENT", {0, 2, 4, 6}, {-1, 0, 1}, 2, 1);
  refused("a prefix that is none", "INVALID_ARGUMENT", {0, 2, 6}, {-1, 7}, 2, 1);
  refused("heads that cannot share", "SHAPE_MISMATCH", {0, 6}, {-1}, 3, 2);
  if (sizeof(T) == 4 && h.timed()) {
    const auto behind = [](int32_t prompts, size_t prompt, int32_t responses, size_t response) {
      std::vector<Segment> group;
      for (int32_t p = 0; p < prompts; p++) {
        group.push_back({prompt});
        for (int i = 0; i < responses; i++) group.push_back({response, p * (responses + 1)});
      }
      return group;
    };
    test("8 x 1024, 32 of 8 heads of 128", std::vector<Segment>(8, {1024}), 32, 8, 128, true, true);
    test("8 prompts of 600, 8 responses of 128 each", behind(8, 600, 8, 128), 32, 8, 128, true, true);
    if (in_bf16) {
      test("8 x 1024, 16 of 8 heads of 128", std::vector<Segment>(8, {1024}), 16, 8, 128, true, true);
      test("4 x 2048, 32 of 8 heads of 128", std::vector<Segment>(4, {2048}), 32, 8, 128, true, true);
      test("1 x 8192, 32 of 8 heads of 128", {{8192}}, 32, 8, 128, true, true);
      test("8 prompts of 512, 8 responses of 256 each", behind(8, 512, 8, 256), 32, 8, 128, true, true);
      test("16 x 1024, all see all, 16 heads of 64", std::vector<Segment>(16, {1024}), 16, 16, 64, false, true);
      test("16 x 1024, all see all, 16 heads of 72", std::vector<Segment>(16, {1024}), 16, 16, 72, false, true);
    }
  }
}

const Registered registered("attention", [](Harness& h) {
  attention<float>(h, false), attention<double>(h, false);
  h.with_and_without_warpgroups([&](const std::string& by) { attention<float>(h, true, by); });
});

}  // namespace
