// FillRaw makes the raw rows (raw_contents.h) of a step's tokens for all planes of one layer.

#ifndef TERRACE_TOOLS_TERRACE_CONTENTS_FILL_RAW_H_
#define TERRACE_TOOLS_TERRACE_CONTENTS_FILL_RAW_H_

#include <cstdint>
#include <type_traits>

#include "terrace/formats/host_device.h"
#include "terrace/pool_kinds.h"
#include "tools/terrace/contents/contents.h"

struct CUstream_st;

namespace terrace::tools {

struct RawPlane {
  float* kv;     // [tokens, columns]
  float* score;  // [tokens, columns]
  int32_t columns;
  ContentPlane plane;
};

// All pointers are memory of the store's backend.
struct RawSegment {
  const int32_t* positions;          // [tokens]
  const int32_t* token_sequences;    // [tokens] sequence step of the token
  const ContentSequence* sequences;  // [sequence steps]
  const uint64_t* prefix_keys;       // of all requests
  int32_t num_planes;
  RawPlane planes[kMaxPlanes];
};
static_assert(std::is_trivially_copyable_v<RawSegment>);

// Key of a token of the step.
TERRACE_HOST_DEVICE uint64_t KeyOfToken(const RawSegment& segment, int32_t token) {
  return ContentKey(segment.sequences[segment.token_sequences[token]], segment.prefix_keys,
                    segment.positions[token]);
}

// Host: tokens begin .. end - 1.   Thread-safe: yes, on disjoint tokens.
void FillRaw(const RawSegment& segment, int64_t begin, int64_t end);

// CUDA: `tokens` tokens. Stream-ordered; returns a cudaError_t.
int LaunchFillRaw(const RawSegment& segment, int32_t tokens, CUstream_st* stream);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_CONTENTS_FILL_RAW_H_
