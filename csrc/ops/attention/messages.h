// What decode_attention says of its tables, whatever computes it.
#pragma once

namespace g2rpo::attention {

constexpr auto kBadGroups = "decode_attention: H must be a multiple of G";
constexpr auto kBadPrefixTable = "decode_attention: prefixLength must be in [0, E * C], in pages of [0, P)";
constexpr auto kBadPrefix = "decode_attention: prefix must be -1 or one of the N prefixes";
constexpr auto kBadOwnTable = "decode_attention: ownLength must be in [0, F * C], in pages of [0, P)";

}  // namespace g2rpo::attention
