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

template <class T> void attention(Harness& h) {
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
    auto q = randoms<T>(rows * heads * width, 1), k = randoms<T>(rows * key_heads * width, 2), v = randoms<T>(rows * key_heads * width, 3);
    auto output = zeros<T>(q.host().size()), lse = zeros<T>(rows * heads), d_output = randoms<T>(q.host().size(), 4);
    auto dq = zeros<T>(q.host().size()), dk = zeros<T>(k.host().size()), dv = zeros<T>(v.host().size());
    const double scale = 1 / std::sqrt(static_cast<double>(width));
    const std::function<Attention<T>(Side)> forward = [&](Side s) {
      return Attention<T>{q.view(s, rows, heads, width), k.view(s, rows, key_heads, width), v.view(s, rows, key_heads, width), segment_starts.view(s),
                          segment_prefix.view(s), causal, scale, output.view(s, rows, heads, width), lse.view(s, rows, heads)};
    };
    const std::function<AttentionBackward<T>(Side)> backward = [&](Side s) {
      return AttentionBackward<T>{d_output.view(s, rows, heads, width), q.view(s, rows, heads, width), k.view(s, rows, key_heads, width),
                                  v.view(s, rows, key_heads, width), output.view(s, rows, heads, width), lse.view(s, rows, heads), segment_starts.view(s),
                                  segment_prefix.view(s), causal, scale,
                                  dq.view(s, rows, heads, width), dk.view(s, rows, key_heads, width), dv.view(s, rows, key_heads, width)};
    };
    if (timing) {
      const double flops = 4 * seen * static_cast<double>(heads * width), bytes = static_cast<double>((2 * q.host().size() + 2 * k.host().size()) * sizeof(T));
      h.time<Attention<T>>(typed<T>("attention") + " " + what, bytes, forward, flops);
      h.time<AttentionBackward<T>>(typed<T>("attention_backward") + " " + what, 2 * bytes, backward, 2.5 * flops);
      return;
    }
    h.on_both<Attention<T>>(forward);
    h.close(typed<T>("attention") + " " + what, output, kTolerance<T>);
    h.close(typed<T>("attention") + " " + what + ": logSumExp", lse, kTolerance<T>);
    h.on_both<AttentionBackward<T>>(backward);
    h.close(typed<T>("attention_backward") + " " + what + ": dQuery", dq, kTolerance<T>);
    h.close(typed<T>("attention_backward") + " " + what + ": dKey", dk, 4 * kTolerance<T>);
    h.close(typed<T>("attention_backward") + " " + what + ": dValue", dv, 4 * kTolerance<T>);
    if (rows > 200) h.repeats<AttentionBackward<T>, T>(typed<T>("attention_backward") + " " + what, dk, backward);
  };
  test("one row", {{1}}, 1, 1, 8, true);
  test("ragged", {{5}, {0}, {70}, {1}, {33}}, 4, 2, 16, true);
  test("ragged, all see all", {{5}, {70}, {0}, {129}}, 2, 2, 24, false);
  test("responses behind prompts", {{40}, {3}, {7, 0}, {9, 0}, {1, 1}, {0, 0}, {65, 0}, {66, 1}}, 4, 1, 32, true);
  test("heads of 72", {{130}}, 3, 3, 72, false);
  test("heads of 128", {{150}, {20, 0}}, 4, 2, 128, true);
  test("heads of 200", {{40}, {9, 0}}, 2, 1, 200, true);
  test("nothing", {}, 2, 1, 8, true);
  const auto in_one_matrix = [&](size_t rows, size_t heads, size_t width) {  // query, key and value side by side, as the vision tower has them
    const size_t n = heads * width;
    Array<int32_t> segment_starts(std::vector<int32_t>{0, static_cast<int32_t>(rows / 3), static_cast<int32_t>(rows)}), segment_prefix(std::vector<int32_t>{-1, -1});
    auto qkv = randoms<T>(rows * 3 * n, 5), d_output = randoms<T>(rows * n, 6), output = zeros<T>(rows * n), lse = zeros<T>(rows * heads), d_qkv = zeros<T>(rows * 3 * n);
    const auto part = [&](Array<T>& all, Side s, size_t i) { return View<T>(all.at(s) + i * n, rows, heads, width); };
    h.on_both<Attention<T>>([&](Side s) {
      Attention<T> op{part(qkv, s, 0), part(qkv, s, 1), part(qkv, s, 2), segment_starts.view(s), segment_prefix.view(s), false, 0.3, output.view(s, rows, heads, width), lse.view(s, rows, heads)};
      op.query_stride = op.key_stride = 3 * n;
      return op;
    });
    h.close(typed<T>("attention") + " in one matrix", output, kTolerance<T>);
    h.on_both<AttentionBackward<T>>([&](Side s) {
      AttentionBackward<T> op{d_output.view(s, rows, heads, width), part(qkv, s, 0), part(qkv, s, 1), part(qkv, s, 2), output.view(s, rows, heads, width), lse.view(s, rows, heads),
                              segment_starts.view(s), segment_prefix.view(s), false, 0.3, part(d_qkv, s, 0), part(d_qkv, s, 1), part(d_qkv, s, 2)};
      op.query_stride = op.key_stride = 3 * n;
      return op;
    });
    h.close(typed<T>("attention_backward") + " in one matrix", d_qkv, 4 * kTolerance<T>);
  };
  in_one_matrix(100, 3, 24);
  const auto behind_cached_keys = [&](size_t past, size_t rows, size_t heads, size_t key_heads, size_t width) {
    const auto end = static_cast<int32_t>(past + rows), mine = static_cast<int32_t>(past);
    Array<int32_t> segment_starts(std::vector<int32_t>{0, mine, end - 7, end}), segment_prefix(std::vector<int32_t>{-1, 0, -1});
    auto q = randoms<T>(rows * heads * width, 7), k = randoms<T>((past + rows) * key_heads * width, 8), v = randoms<T>((past + rows) * key_heads * width, 9);
    auto output = zeros<T>(rows * heads * width), lse = zeros<T>(rows * heads);
    h.on_both<Attention<T>>([&](Side s) {
      Attention<T> op{q.view(s, rows, heads, width), k.view(s, past + rows, key_heads, width), v.view(s, past + rows, key_heads, width), segment_starts.view(s),
                      segment_prefix.view(s), true, 0.3, output.view(s, rows, heads, width), lse.view(s, rows, heads)};
      op.keys_before = past;
      return op;
    });
    h.close(typed<T>("attention") + " behind cached keys", output, kTolerance<T>);
    h.close(typed<T>("attention") + " behind cached keys: logSumExp", lse, kTolerance<T>);
  };
  behind_cached_keys(128, 50, 4, 2, 16);
  const auto refused = [&](const std::string& what, const char* code, std::vector<int32_t> starts, std::vector<int32_t> prefixes, size_t heads, size_t key_heads) {
    auto q = randoms<T>(6 * heads * 8, 1), k = randoms<T>(6 * key_heads * 8, 2), output = zeros<T>(6 * heads * 8), lse = zeros<T>(6 * heads);
    Array<int32_t> segment_starts(std::move(starts)), segment_prefix(std::move(prefixes));
    h.both_refuse<Attention<T>>(typed<T>("attention") + " of " + what, code, [&](Side s) {
      return Attention<T>{q.view(s, 6, heads, 8), k.view(s, 6, key_heads, 8), k.view(s, 6, key_heads, 8), segment_starts.view(s), segment_prefix.view(s), true, 1, output.view(s, 6, heads, 8), lse.view(s, 6, heads)};
    });
  };
  refused("starts that fall", "INVALID_ARGUMENT", {0, 4, 2, 6}, {-1, -1, -1}, 2, 1);
  refused("starts that end too soon", "INVALID_ARGUMENT", {0, 4}, {-1}, 2, 1);
  refused("rows but no segments", "INVALID_ARGUMENT", {0}, {}, 2, 1);
  refused("a prefix that has one", "INVALID_ARGUMENT", {0, 2, 4, 6}, {-1, 0, 1}, 2, 1);
  refused("a prefix that is none", "INVALID_ARGUMENT", {0, 2, 6}, {-1, 7}, 2, 1);
  refused("heads that cannot share", "SHAPE_MISMATCH", {0, 6}, {-1}, 3, 2);
  if (sizeof(T) == 4 && h.timed()) {
    test("8 x 1024, 32 of 8 heads of 128", std::vector<Segment>(8, {1024}), 32, 8, 128, true, true);
    std::vector<Segment> group;
    for (int32_t p = 0; p < 8; p++) {
      group.push_back({600});
      for (int i = 0; i < 8; i++) group.push_back({128, p * 9});
    }
    test("8 prompts of 600, 8 responses of 128 each", group, 32, 8, 128, true, true);
  }
}

const Registered registered("attention", [](Harness& h) { attention<float>(h), attention<double>(h); });

}  // namespace
