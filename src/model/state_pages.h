// What the compressor keeps of a sequence between steps: the pages of the state pools and of the
// overlap pool (docs/formats.md section 5). All numbers are float32, unless said otherwise.
//
// A state page begins with a StateHeader: where its sequence's next step may begin.
//
// CSA (ratio 4): an entry pools columns [:d] of the 4 tokens of the group before and columns [d:]
// of its own 4, so each half of a token's raw row has a ring of its own, for as long as it may be
// read. With d = 512, and e = 128 or 0:
//
//   page     header, as long as a row
//            half 0: columns [:d] of the last 8 + D tokens; token t is row t % (8 + D)
//            half 1: columns [d:] of the last 3 + D tokens that close no entry; the n-th of all
//            such tokens is row n % (3 + D)
//   row      latent kv [d], score [d], then indexer kv [e], score [e]
//   overlap  half 0 of each of the 4 tokens before a checkpoint
//
// Half 1 of the token that closes an entry is read in its own step alone, so no ring has it.
//
// An entry that closes at token t reaches back to t - 7 and t - 3, so of D + 1 tokens, as a step of
// decoding feeds, none overwrites what an entry of the step reads, and D drafts can be taken back.
//
// HCA (ratio 128): the running softmax of the group's finished segments, and of the open one, over
// the tokens before `folded`; and a ring of D raw rows of tokens that may be taken back, token t in
// row t % D. Tokens below the first of a step are final: the step folds them before its own.
//
//   page   header
//          finished segments: max [d], sum [d], weighted [d]
//          open segment:      max [d], sum [d], weighted [d]
//          D rows
//   row    kv [d], score [d]

#ifndef TERRACE_SRC_MODEL_STATE_PAGES_H_
#define TERRACE_SRC_MODEL_STATE_PAGES_H_

#include <cstdint>

#include "terrace/formats/host_device.h"
#include "terrace/formats/row_format.h"
#include "terrace/pool_kinds.h"

namespace terrace::internal {

inline constexpr int kCsaRows = 2 * kCsaRatio;  // of an entry: the group before, and its own
inline constexpr int kHcaSegmentTokens = 16;
inline constexpr int kHcaSegments = kHcaRatio / kHcaSegmentTokens;

// Where the next step of a page's sequence may begin. Tokens below `folded` were final when they
// were fed; those from there to `fed` may have been taken back since, and then come again.
struct alignas(8) FedRange {
  int32_t folded;
  int32_t fed;
};

// The beginning of every state page. The empty page of zeros is where a sequence begins.
struct StateHeader {
  FedRange range;
  int32_t unused[6];
};
static_assert(sizeof(StateHeader) == 32);

// Whether the page is not where a step from `first` on begins: a layer's Compress is missing before
// it, or came twice, or the page is of another place. At 0 nothing is kept, whatever it holds.
TERRACE_HOST_DEVICE constexpr bool IsStale(FedRange range, int32_t first, int32_t max_drafts) {
  return first != 0 &&
         (range.folded > first || range.fed < first || range.folded < first - max_drafts);
}

// Offsets and sizes are counted in float32.
struct CsaStateLayout {
  int32_t indexer_channels;  // 128, or 0 without an indexer plane
  int32_t max_drafts;

  // Whether the ring of a half has a row for the token.
  TERRACE_HOST_DEVICE static constexpr bool keeps(int half, int32_t position) {
    return half == 0 || position % kCsaRatio != kCsaRatio - 1;
  }
  TERRACE_HOST_DEVICE constexpr int32_t rows(int half) const {
    return (half == 0 ? kCsaRows : kCsaRatio - 1) + max_drafts;
  }
  // REQUIRES: keeps(half, position).
  TERRACE_HOST_DEVICE constexpr int32_t row(int half, int32_t position) const {
    return (half == 0 ? position : position - position / kCsaRatio) % rows(half);
  }
  TERRACE_HOST_DEVICE constexpr int32_t row_floats() const {
    return 2 * (kLatentChannels + indexer_channels);
  }
  TERRACE_HOST_DEVICE constexpr int32_t ring_offset(int half) const {
    return (half == 0 ? 1 : 1 + rows(0)) * row_floats();
  }
  // REQUIRES: keeps(half, position).
  TERRACE_HOST_DEVICE constexpr int32_t row_offset(int half, int32_t position) const {
    return ring_offset(half) + row(half, position) * row_floats();
  }
  // Of plane 0 (latent) or 1 (indexer) in a row; its scores follow its kv.
  TERRACE_HOST_DEVICE static constexpr int32_t plane_offset(int plane) {
    return plane * 2 * kLatentChannels;
  }
  TERRACE_HOST_DEVICE constexpr int64_t page_bytes() const {
    return (int64_t{1} + rows(0) + rows(1)) * row_floats() * int64_t{sizeof(float)};
  }
  TERRACE_HOST_DEVICE constexpr int64_t overlap_page_bytes() const {
    return int64_t{kCsaRatio} * row_floats() * int64_t{sizeof(float)};
  }
};

// A running softmax of each channel (compress_math.h).
template <int kChannels>
struct SoftmaxSums {
  float max[kChannels];
  float sum[kChannels];
  float weighted[kChannels];
};

// A group of HCA as it fills: its finished segments, and the open one.
struct HcaGroup {
  SoftmaxSums<kLatentChannels> finished;
  SoftmaxSums<kLatentChannels> open;
};

// An HCA page up to its ring.
struct HcaState {
  StateHeader header;
  HcaGroup group;
};
static_assert(sizeof(HcaState) == (8 + 6 * kLatentChannels) * sizeof(float));

struct HcaStateLayout {
  int32_t max_drafts;

  static constexpr int32_t kRows = sizeof(HcaState) / sizeof(float);
  static constexpr int32_t kRowFloats = 2 * kLatentChannels;

  // REQUIRES: max_drafts > 0.
  TERRACE_HOST_DEVICE constexpr int32_t row_offset(int32_t position) const {
    return kRows + position % max_drafts * kRowFloats;
  }
  TERRACE_HOST_DEVICE constexpr int64_t page_bytes() const {
    return (kRows + int64_t{max_drafts} * kRowFloats) * int64_t{sizeof(float)};
  }
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_MODEL_STATE_PAGES_H_
