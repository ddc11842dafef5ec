#include <cmath>
#include <limits>
#include <numeric>

#include "../../csrc/ops/attention/op.h"
#include "../../csrc/backends/cuda/thin_product.h"
#include "harness.h"

using namespace g2rpo;
using namespace g2rpo::test;

namespace {

struct Sizes {
  std::vector<int32_t> prefix_lengths, prefix, own_lengths;  // of every prefix; of every row
  size_t heads, key_heads, width, page = 16, spare = 1;  // spare: pages of a table that hold nothing
  bool in_bf16 = false;
};

/** Keys and values of some sequences, in pages that lie in any order; what no sequence holds is NaN. A key is the same whatever the size of a page. */
template <class T> struct Decode {
  Sizes s;
  size_t rows, pages = 1;
  Array<int32_t> prefix, prefix_pages, prefix_length, own_pages, own_length;
  Array<T> query, key, value, output;

  explicit Decode(const Sizes& sizes, bool random = true) : s(sizes), rows(sizes.prefix.size()) {
    std::vector<int32_t> order;
    for (const auto& lengths : {s.prefix_lengths, s.own_lengths})
      for (const int32_t n : lengths) pages += of(n);
    order.resize(pages);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(7));
    const size_t token = s.key_heads * s.width, nan = random ? pages * s.page * token : 0;
    std::vector<T> keys(nan, std::numeric_limits<T>::quiet_NaN()), values = keys;
    auto next = order.begin();
    unsigned seed = 1;
    const auto table = [&](const std::vector<int32_t>& lengths) {
      const size_t room = of(lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end())) + s.spare;
      std::vector<int32_t> lines(lengths.size() * room, -1);
      for (size_t i = 0; i < lengths.size(); i++) {
        const auto line = std::copy_n(next, of(lengths[i]), lines.begin() + static_cast<std::ptrdiff_t>(i * room)) - lines.begin() - static_cast<std::ptrdiff_t>(of(lengths[i]));
        next += static_cast<std::ptrdiff_t>(of(lengths[i]));
        if (!random) continue;
        std::mt19937 bits(seed++);
        std::normal_distribution<double> normal;
        for (size_t t = 0; t < static_cast<size_t>(lengths[i]); t++)
          for (size_t d = 0; d < token; d++) {
            const size_t at = (static_cast<size_t>(lines[static_cast<size_t>(line) + t / s.page]) * s.page + t % s.page) * token + d;
            keys[at] = given(normal(bits)), values[at] = given(normal(bits));
          }
      }
      return Array<int32_t>(std::move(lines));
    };
    prefix_pages = table(s.prefix_lengths), own_pages = table(s.own_lengths);
    prefix = Array<int32_t>(s.prefix), prefix_length = Array<int32_t>(s.prefix_lengths), own_length = Array<int32_t>(s.own_lengths);
    query = randoms<T>(rows * s.heads * s.width, 3);
    if (s.in_bf16) query = rounded_for<bf16>(std::move(query));
    output = zeros<T>(query.host().size());
    key = random ? Array<T>(std::move(keys)) : randoms<T>(pages * s.page * token, 4);
    value = random ? Array<T>(std::move(values)) : randoms<T>(pages * s.page * token, 5);
  }
  T given(double x) const { return s.in_bf16 ? static_cast<T>(number(narrow(static_cast<float>(x)))) : static_cast<T>(x); }
  size_t of(int32_t length) const { return (static_cast<size_t>(length) + s.page - 1) / s.page; }

  /** The op for the rows [first, first + count). */
  DecodeAttention<T> op(Side side, size_t first, size_t count) {
    const auto cache = [&](Array<T>& of) {
      View<const T> v(of.at(side), of.host().size());
      v.dim[0] = pages, v.dim[1] = s.page, v.dim[2] = s.key_heads, v.dim[3] = s.width;
      return v;
    };
    const auto lines = [&](Array<int32_t>& of, size_t from, size_t n, size_t all) {
      const size_t room = all ? of.host().size() / all : 0;
      return View<const int32_t>(of.at(side) + from * room, n, room);
    };
    const size_t prefixes = s.prefix_lengths.size(), vector = s.heads * s.width;
    DecodeAttention<T> op{View<const T>(query.at(side) + first * vector, count, s.heads, s.width), cache(key), cache(value), View<const int32_t>(prefix.at(side) + first, count),
            lines(prefix_pages, 0, prefixes, prefixes), prefix_length.view(side), lines(own_pages, first, count, rows), View<const int32_t>(own_length.at(side) + first, count),
            1 / std::sqrt(static_cast<double>(s.width)), View<T>(output.at(side) + first * vector, count, s.heads, s.width)};
    op.in_bf16 = s.in_bf16;
    return op;
  }
  std::function<DecodeAttention<T>(Side)> all() {
    return [this](Side side) { return op(side, 0, rows); };
  }
};

template <class T> void on_device(Harness& h, const DecodeAttention<T>& op) {
  h.run_call([&](Stream& s) { h.entry<DecodeAttention<T>>(Backend::cuda)->run(s, &op); });
}

/** `n` rows behind each of `prompts` prefixes of some length, with some keys of their own each. */
Sizes prompts_of(size_t prompts, size_t n, int32_t length, int32_t own, size_t heads, size_t key_heads, size_t width) {
  Sizes s{std::vector<int32_t>(prompts, length), {}, std::vector<int32_t>(prompts * n, own), heads, key_heads, width};
  for (size_t i = 0; i < prompts * n; i++) s.prefix.push_back(static_cast<int32_t>(i / n));
  return s;
}

template <class T> void decode_attention(Harness& h) {
  const auto test = [&](const std::string& what, const Sizes& sizes) {
    Decode<T> d(sizes);
    const std::string name = typed<T>("decode_attention") + (sizes.in_bf16 ? " in bf16 of " : " of ") + what;
    h.on_both<DecodeAttention<T>>(d.all());
    h.close(name, d.output, sizes.in_bf16 ? 4e-3 : kTolerance<T>);  // weights of softmax are rounded to bf16
    h.repeats<DecodeAttention<T>, T>(name, d.output, d.all());
    // every row alone, and all of them whatever the size of a page
    const auto wanted = d.output.download();
    d.output.upload();
    for (size_t b = 0; b < d.rows; b++) on_device(h, d.op(Side::device, b, 1));
    h.expect(d.output.download() == wanted, name + ": a row has other bits alone than beside others");
    if constexpr (sizeof(T) == 4) {
      const size_t size = sizes.heads * sizes.width, stride = cuda::thin_stride(size);
      auto arranged = zeros<bf16>(d.rows * stride);
      auto op = d.op(Side::device, 0, d.rows);
      op.output.data = nullptr, op.arranged_output = arranged.at(Side::device);
      on_device(h, op);
      const auto left = arranged.download();
      size_t wrong = 0;
      for (size_t i = 0; i < d.rows * size; i++) wrong += left[i / size * stride + cuda::place_of(i % size)].bits != narrow(wanted[i]).bits;
      h.expect(wrong == 0, name + ": " + std::to_string(wrong) + " are not what a product is to be given");
    }
    for (const size_t page : {1, 7, 200}) {
      Sizes other = sizes;
      other.page = page;
      Decode<T> again(other);
      on_device(h, again.op(Side::device, 0, again.rows));
      h.expect(again.output.download() == wanted, name + ": other bits in pages of " + std::to_string(page));
    }
  };
  test("no rows", {{}, {}, {}, 2, 1, 8});
  test("one key", {{}, {-1}, {1}, 1, 1, 8});
  test("rows without any key beside others", {{0, 9}, {-1, 0, 1, -1, -1}, {5, 0, 0, 0, 1}, 4, 2, 16});
  test("rows of two prompts", {{20, 131}, {0, 0, 1, 1, 0}, {1, 7, 140, 3, 64}, 4, 2, 32});
  test("a prompt with eight responses", {{170, 33}, {0, 0, 0, 0, 0, 0, 0, 0, 1}, {1, 2, 3, 17, 16, 65, 40, 33, 8}, 8, 2, 32});
  test("two heads of a key head, so that rows share a warp", {{70, 33}, {0, 1, 1, 1, 0, -1, 0}, {1, 2, 3, 17, 16, 65, 40}, 4, 2, 64});
  test("a head to each key head, four rows to a warp", {{70, 3, 64}, {0, 0, 1, 2, 2, 2, -1, 2, 2}, {1, 0, 3, 17, 0, 65, 4, 1, 2}, 2, 2, 20});
  test("heads of 5 in threes", {{11, 60, 59}, {0, 1, 2, 2}, {13, 21, 40, 70}, 3, 1, 5});
  test("heads of 128 in sixes", {{50, 151}, {0, 1, 1}, {9, 100, 128}, 12, 2, 128});
  test("heads of 200", {{50}, {0, -1, 0}, {9, 100, 64}, 2, 1, 200});
  test("heads of 256", {{50}, {0, -1}, {9, 70}, 4, 1, 256});
  if (sizeof(T) == 4) {
    const auto narrow = [&](const std::string& what, Sizes sizes) {
      sizes.in_bf16 = true;
      test(what, sizes);
    };
    narrow("rows without any key beside others", {{0, 9}, {-1, 0, 1, -1, -1}, {5, 0, 0, 0, 1}, 4, 2, 64});
    narrow("a prompt with eight responses", {{170, 33}, {0, 0, 0, 0, 0, 0, 0, 0, 1}, {1, 2, 3, 17, 16, 65, 40, 33, 8}, 8, 2, 128});
    narrow("prompts in turns", {{70, 33}, {0, 1, 1, 1, 0, -1, 0}, {1, 2, 3, 17, 16, 65, 130}, 4, 2, 64});
    narrow("more rows than a block takes", {{100, 5}, std::vector<int32_t>(37, 0), std::vector<int32_t>(37, 3), 4, 1, 64});
    narrow("heads in threes", {{11, 60, 64}, {0, 1, 2, 2}, {13, 21, 64, 70}, 3, 1, 128});
  }
  // more than what splits may leave at a time
  Decode<T> roomy({{70}, std::vector<int32_t>(36, 0), std::vector<int32_t>(36, 3), 2, 1, 128, 200, 330});
  h.on_both<DecodeAttention<T>>(roomy.all());
  h.close(typed<T>("decode_attention") + " of rows that have room for many keys", roomy.output, kTolerance<T>);

  const auto refused = [&](const std::string& what, const std::function<void(Decode<T>&)>& spoil, size_t rows = 3) {
    Decode<T> d({{20, 5}, {0, -1, 1}, {9, 3, 0}, 2, 1, 8});
    spoil(d);
    d.prefix.upload(), d.prefix_pages.upload(), d.prefix_length.upload(), d.own_pages.upload(), d.own_length.upload();
    h.both_refuse<DecodeAttention<T>>(typed<T>("decode_attention") + " of " + what, "INVALID_ARGUMENT", [&](Side side) { return d.op(side, 0, rows); });
  };
  const auto set = [](Array<int32_t>& of, size_t at, int32_t to) { of.at(Side::host)[at] = to; };
  refused("a prefix that is not there", [&](auto& d) { set(d.prefix, 1, 2); });
  refused("a prefix of -2", [&](auto& d) { set(d.prefix, 0, -2); });
  refused("a prefix longer than its table", [&](auto& d) { set(d.prefix_length, 1, 1000); });
  refused("a prefix of negative length", [&](auto& d) { set(d.prefix_length, 0, -1); });
  refused("a page of a prefix that is not there", [&](auto& d) { set(d.prefix_pages, 1, 100); });
  refused("a page of a prefix that nobody has", [&](auto& d) { set(d.prefix_pages, 0, -1); }, 0);
  refused("more keys of one's own than the table holds", [&](auto& d) { set(d.own_length, 2, 33); });
  refused("a page of one's own below 0", [&](auto& d) { set(d.own_pages, 0, -7); });
  refused("a bad page in row 0 and a bad prefix in row 1", [&](auto& d) { set(d.own_pages, 0, 1 << 30), set(d.prefix, 1, 9); });
  refused("a bad prefix in row 0 and a bad page in row 1", [&](auto& d) { set(d.own_pages, 2, 1 << 30), set(d.prefix, 0, 9); });
  refused("a bad row and a bad prefix table", [&](auto& d) { set(d.prefix, 0, 9), set(d.prefix_length, 1, -3); });
  Decode<T> shared({{}, {-1}, {3}, 3, 2, 8});
  h.both_refuse<DecodeAttention<T>>(typed<T>("decode_attention") + " of heads that cannot share", "SHAPE_MISMATCH", shared.all());

  if (sizeof(T) != 4 || !h.timed()) return;
  const auto time = [&](const std::string& what, const Sizes& s) {
    Decode<T> d(s, false);
    double held = 0, seen = 0;
    for (const int32_t n : s.prefix_lengths) held += n;
    for (size_t b = 0; b < d.rows; b++) held += s.own_lengths[b], seen += s.own_lengths[b] + (s.prefix[b] < 0 ? 0 : s.prefix_lengths[static_cast<size_t>(s.prefix[b])]);
    const double bytes = (2 * held * static_cast<double>(s.key_heads * s.width) + 2 * static_cast<double>(d.output.host().size())) * sizeof(T);
    h.time<DecodeAttention<T>>(typed<T>("decode_attention") + (s.in_bf16 ? " in bf16 of " : " of ") + what, bytes, d.all(),
                               4 * seen * static_cast<double>(s.heads * s.width));
  };
  Sizes one{{}, {-1}, {4096}, 32, 8, 128}, many{{}, std::vector<int32_t>(256, -1), std::vector<int32_t>(256, 1024), 32, 8, 128};
  Sizes small = prompts_of(1, 1, 512, 32, 16, 8, 128), few = prompts_of(1, 16, 512, 32, 16, 8, 128), prompt = prompts_of(1, 64, 512, 32, 16, 8, 128);
  for (const bool in_bf16 : {false, true}) {
    const auto both = [&](const std::string& what, Sizes sizes) {
      sizes.in_bf16 = in_bf16;
      time(what, sizes);
    };
    both("one row, 4096 keys", one), both("256 rows, 1024 keys each", many);
    both("8 prompts of 1024, 8 rows with 256 keys each", prompts_of(8, 8, 1024, 256, 32, 8, 128));
    both("32 prompts of 1024, 8 rows with 256 keys each, 16 heads", prompts_of(32, 8, 1024, 256, 16, 8, 128));
    both("one prompt of 2048, 64 rows with 64 keys each", prompts_of(1, 64, 2048, 64, 32, 8, 128));
    both("one prompt of 512, one row with 32 keys, 16 heads", small), both("one prompt of 512, 16 rows with 32 keys each, 16 heads", few);
    both("one prompt of 512, 64 rows with 32 keys each, 16 heads", prompt);
  }
}

const Registered registered("decode_attention", [](Harness& h) { decode_attention<float>(h), decode_attention<double>(h); });

}  // namespace
