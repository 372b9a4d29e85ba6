// What checkpoints keep of the compressor's state, and what resuming makes of it, on the host
// (kernels/compress/state.cu on the device).

#include <algorithm>
#include <cstring>
#include <limits>

#include "src/backend/host/host_compress.h"

namespace terrace::internal {
namespace {

// A row that weighs nothing.
void ClearCsaRow(const CsaStateLayout& layout, float* row) {
  for (const int channels : {kLatentChannels, layout.indexer_channels}) {
    row = std::fill_n(row, channels, 0.0f);
    row = std::fill_n(row, channels, -std::numeric_limits<float>::infinity());
  }
}

// The pages of a pool stand where the sequence's next step begins.
void StandAt(const RestoreRecord& record, const PoolStatePages& pages, const int32_t* table) {
  for (int32_t layer = 0; layer < pages.rows; ++layer) {
    float* const state = PageOfBlock(pages, layer, table[record.sequence_index]);
    if (state == nullptr) continue;
    reinterpret_cast<StateHeader*>(state)->range = {record.position, record.position};
  }
}

}  // namespace

void CaptureHostOverlap(const CaptureOverlapParams& params) {
  const int32_t floats = params.layout.row_floats();
  for (int32_t i = 0; i < params.count; ++i) {
    const CheckpointRecord& record = params.records[i];
    for (int32_t layer = 0; layer < params.state.rows; ++layer) {
      const float* const state = PageOfBlock(params.state, layer, record.state_block);
      float* const overlap = PageOfBlock(params.overlap, layer, record.overlap_block);
      if (state == nullptr || overlap == nullptr) continue;
      for (int j = 0; j < kCsaRatio; ++j) {
        std::memcpy(overlap + j * floats,
                    state + params.layout.row_offset(0, record.position - kCsaRatio + j),
                    floats * sizeof(float));
      }
    }
  }
}

// An empty state is one whose rows weigh nothing.
void RestoreHostState(const RestoreStateParams& params) {
  const int32_t floats = params.csa_layout.row_floats();
  for (int32_t i = 0; i < params.count; ++i) {
    const RestoreRecord& record = params.records[i];
    StandAt(record, params.hca_state, params.hca_table);
    StandAt(record, params.csa_state, params.csa_table);
    if (record.position < kCsaRatio) continue;
    for (int32_t layer = 0; layer < params.csa_state.rows; ++layer) {
      float* const state =
          PageOfBlock(params.csa_state, layer, params.csa_table[record.sequence_index]);
      const float* const overlap = PageOfBlock(params.overlap, layer, record.overlap_block);
      if (state == nullptr) continue;
      for (int j = 0; j < kCsaRatio; ++j) {
        float* const row = state + params.csa_layout.row_offset(0, record.position - kCsaRatio + j);
        if (overlap == nullptr) {
          ClearCsaRow(params.csa_layout, row);
        } else {
          std::memcpy(row, overlap + j * floats, floats * sizeof(float));
        }
      }
    }
  }
}

}  // namespace terrace::internal
