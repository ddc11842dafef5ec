// Where a response ends before its limit: at an id, at a sequence of ids, or as soon as its text holds a string.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace g2rpo::qwen3vl {

/** What every id adds to a text, in UTF-8, one after the other. Control tokens add nothing, nor do ids behind the last. */
struct Vocabulary {
  std::vector<uint8_t> bytes;
  std::vector<int32_t> starts;  // [ids + 1]
  std::span<const uint8_t> of(int32_t id) const {
    const auto i = static_cast<size_t>(id);
    if (i + 1 >= starts.size()) return {};
    return {bytes.data() + starts[i], bytes.data() + starts[i + 1]};
  }
};

/** A string that is looked for byte by byte: wherever a token begins or ends, and whatever tokens a character is made of. */
class StopString {
 public:
  explicit StopString(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)), borders_(bytes_.size()) {
    for (size_t i = 1; i < bytes_.size(); i++) borders_[i] = next(borders_[i - 1], bytes_[i]);
  }
  size_t size() const { return bytes_.size(); }
  /** So much of the string, less than all of it, stood at the end of the text: how much does after one more byte. */
  size_t next(size_t matched, uint8_t byte) const {
    while (matched > 0 && bytes_[matched] != byte) matched = borders_[matched - 1];
    return matched + (bytes_[matched] == byte);
  }

 private:
  std::vector<uint8_t> bytes_;
  std::vector<size_t> borders_;  // of what begins the string and ends at i: the longest that is shorter than i + 1
};

/** What ends a response. */
struct Stops {
  std::vector<int32_t> ids;
  std::vector<std::vector<int32_t>> sequences;
  std::vector<StopString> strings;
};

/** Which of them it was. */
struct Stop {
  enum class Kind : uint8_t { none, id, sequence, string } kind = Kind::none;
  size_t index = 0;
  explicit operator bool() const { return kind != Kind::none; }
};

/** How much of every string the text of a response ends with. */
using Matched = std::vector<size_t>;

/** Whether the last of these tokens ends the response; of several strings the one that was whole first. */
inline Stop stop_at(const Stops& stops, const Vocabulary& vocabulary, const std::vector<int32_t>& tokens, Matched& matched) {
  const auto ends_with = [&](const std::vector<int32_t>& end) {
    return tokens.size() >= end.size() && std::equal(end.rbegin(), end.rend(), tokens.rbegin());
  };
  const auto place = [](const auto& list, auto found) { return static_cast<size_t>(found - list.begin()); };
  if (const auto id = std::find(stops.ids.begin(), stops.ids.end(), tokens.back()); id != stops.ids.end())
    return {Stop::Kind::id, place(stops.ids, id)};
  if (const auto sequence = std::find_if(stops.sequences.begin(), stops.sequences.end(), ends_with); sequence != stops.sequences.end())
    return {Stop::Kind::sequence, place(stops.sequences, sequence)};
  if (stops.strings.empty()) return {};
  matched.resize(stops.strings.size());
  for (const uint8_t byte : vocabulary.of(tokens.back()))
    for (size_t s = 0; s < matched.size(); s++)
      if ((matched[s] = stops.strings[s].next(matched[s], byte)) == stops.strings[s].size()) return {Stop::Kind::string, s};
  return {};
}

}  // namespace g2rpo::qwen3vl
