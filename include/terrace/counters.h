// Counters of what kernels skipped or mended, or found stale: what the host cannot see.

#ifndef TERRACE_COUNTERS_H_
#define TERRACE_COUNTERS_H_

#include <cstdint>
#include <optional>

#include "terrace/formats/host_device.h"

namespace terrace {

// Raised on rare paths only, since the store was created. Reading them never stalls a device.
struct Counters {
  uint64_t nonfinite_values = 0;   // NaN or infinity in a row that was written
  uint64_t skipped_slots = 0;      // raw slots outside the pool (-1 is not counted)
  uint64_t skipped_entries = 0;    // chosen entries that the query does not see (-1 is not counted)
  uint64_t skipped_positions = 0;  // rows whose position lies beyond the RoPE table
  uint64_t truncated_queries = 0;  // queries that see more entries than the output holds
  // Sequences of a step, a layer each, whose state page was not where the step begins.
  uint64_t stale_states = 0;
  uint64_t first_stale_state = 0;  // which one; FirstStaleState reads it
};

// A state page that was not where a step begins. Compress went on from what the page held, so the
// entries that the layer made of the sequence are wrong from the one that was open on.
struct StaleState {
  uint32_t plan;           // the step's number, modulo 2^32
  int32_t layer;           // of the model; 2047 stands for all from there on
  int32_t sequence_index;  // of the step
  // Tokens were fed that the step feeds again: it ran twice, or its graph did. Else a step before
  // it was not compressed, or the page is of another sequence.
  bool fed_again;
};

namespace internal {

inline constexpr uint64_t kStaleLayerBits = 11;
inline constexpr uint64_t kStaleSequenceBits = 20;  // kMaxSequences

// As a number that is the larger, the earlier the step, then the smaller layer and sequence index,
// so that one atomic operation keeps the first. Never 0.
TERRACE_HOST_DEVICE uint64_t PackStaleState(const StaleState& state) {
  constexpr int32_t kMaxLayer = (1 << kStaleLayerBits) - 1;
  uint64_t packed = state.plan;
  packed = packed << kStaleLayerBits |
           static_cast<uint64_t>(state.layer < kMaxLayer ? state.layer : kMaxLayer);
  packed = packed << kStaleSequenceBits | static_cast<uint64_t>(state.sequence_index);
  packed = packed << 1 | static_cast<uint64_t>(state.fed_again);
  return packed == ~uint64_t{0} ? 1 : ~packed;
}

}  // namespace internal

// The one of the earliest step; there the least layer, then the least sequence index. Nothing where
// none was stale.
inline std::optional<StaleState> FirstStaleState(const Counters& counters) {
  if (counters.first_stale_state == 0) return std::nullopt;
  uint64_t packed = ~counters.first_stale_state;
  const auto take = [&packed](uint64_t bits) {
    const uint64_t value = packed & ((uint64_t{1} << bits) - 1);
    packed >>= bits;
    return value;
  };
  StaleState state{};
  state.fed_again = take(1) != 0;
  state.sequence_index = static_cast<int32_t>(take(internal::kStaleSequenceBits));
  state.layer = static_cast<int32_t>(take(internal::kStaleLayerBits));
  state.plan = static_cast<uint32_t>(packed);
  return state;
}

}  // namespace terrace

#endif  // TERRACE_COUNTERS_H_
