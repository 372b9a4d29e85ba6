// Compress: the checks of what it is given, and one call.

#include <algorithm>

#include "src/base/status_macros.h"
#include "src/plan/step_expand.h"
#include "src/store/store_checks.h"
#include "src/store/store_impl.h"

namespace terrace::internal {

// A model may say anything of pages that hold no rows; these must be the compressor's.
absl::Status StoreImpl::CheckState(int layer_index, const LayerPages& row, const LayerPages& state,
                                   const LayerPages& overlap) const {
  const PoolSpec& pool = model_.pools[row.pool];
  const int32_t ratio = model_.pools[state.pool].ratio;
  if (pool.ratio != ratio || pool.rule != EntryRule::kPooled) {
    return Invalid("layer ", layer_index, ": its state is that of pooled entries of ", ratio,
                   " tokens, which pool ", pool.name, " does not have");
  }
  const bool csa = ratio == kCsaRatio;
  const CsaStateLayout layout = {csa && pool.planes.size() > 1 ? kIndexerChannels : 0,
                                 geometry_.max_drafts};
  const int64_t bytes =
      csa ? layout.page_bytes() : HcaStateLayout{geometry_.max_drafts}.page_bytes();
  if (pools_[state.pool].place.page_bytes[0] != bytes) {
    return Invalid("pool ", model_.pools[state.pool].name, ": its pages have ",
                   pools_[state.pool].place.page_bytes[0], " bytes, not ", bytes);
  }
  if (csa && overlap.pool >= 0 &&
      pools_[overlap.pool].place.page_bytes[0] != layout.overlap_page_bytes()) {
    return Invalid("pool ", model_.pools[overlap.pool].name, ": its pages have ",
                   pools_[overlap.pool].place.page_bytes[0], " bytes, not ",
                   layout.overlap_page_bytes());
  }
  return absl::OkStatus();
}

absl::Status StoreImpl::AddCompressPlane(int layer_index, const LayerPages& row, int plane,
                                         const CompressInputs& inputs,
                                         CompressParams* params) const {
  const CompressPlaneIn& in = plane == 0 ? inputs.latent : inputs.indexer;
  const PoolSpec& pool = model_.pools[row.pool];
  const char* const name = plane == 0 ? "latent" : "indexer";
  if (in.kv == nullptr || in.score == nullptr || in.ape == nullptr || in.norm_weight == nullptr) {
    return Invalid("pool ", pool.name, ": kv, score, ape or norm weight of its ", name, " is null");
  }
  for (const void* const data :
       {in.kv, in.score, static_cast<const void*>(in.ape), in.norm_weight}) {
    if (IsAligned(static_cast<const uint8_t*>(data), 16)) continue;
    return Invalid("pool ", pool.name, ": kv, score, ape or norm weight of its ", name,
                   " is not 16-byte aligned");
  }
  const int32_t channels = LayoutOf(pool.planes[plane].format).channels;
  const int64_t width = pool.ratio == kCsaRatio ? 2 * channels : channels;
  const int64_t packet = inputs.rows == FloatType::kBf16 ? 8 : 4;  // elements of 16 bytes
  CompressPlane& out = params->planes[params->num_planes++];
  out.kv_pitch = in.kv_pitch == 0 ? width : in.kv_pitch;
  out.score_pitch = in.score_pitch == 0 ? width : in.score_pitch;
  for (const int64_t pitch : {out.kv_pitch, out.score_pitch}) {
    if (pitch >= width && pitch % packet == 0 && pitch <= kMaxPitch) continue;
    return Invalid("pool ", pool.name, ": a pitch of its ", name, " is ", pitch,
                   ", not a multiple of ", packet, " in ", width, "..", kMaxPitch);
  }
  if (plane_spec(row, plane).rope_before_store) {
    TERRACE_ASSIGN_OR_RETURN(const RopeTableView rope, RopeOf(layer_index));
    out.rope = rope;
  }
  out.kv = in.kv;
  out.score = in.score;
  out.ape = in.ape;
  out.norm_weight = in.norm_weight;
  out.bf16_rows = inputs.rows == FloatType::kBf16;
  out.bf16_weight = inputs.norm_weight == FloatType::kBf16;
  out.hadamard = plane == static_cast<int>(PlaneKind::kIndexer) && inputs.hadamard;
  out.eps = inputs.eps;
  out.pages = PagesOf(row, plane);
  return absl::OkStatus();
}

namespace {

absl::Status CheckFormats(const CompressInputs& inputs) {
  for (const FloatType type : {inputs.rows, inputs.norm_weight}) {
    if (type == FloatType::kFloat32 || type == FloatType::kBf16) continue;
    return Invalid("unknown type of number ", static_cast<int>(type));
  }
  if (!(inputs.eps >= 0.0f && inputs.eps <= 1.0f)) {
    return Invalid("eps is ", inputs.eps, ", not in 0..1");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status StoreImpl::Compress(int layer, const CompressInputs& inputs, Stream stream) {
  TERRACE_RETURN_IF_ERROR(CheckStepBegun());
  TERRACE_ASSIGN_OR_RETURN(const LayerPages state, FindRow(layer, PoolKind::kState));
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer, PoolKind::kFull));
  TERRACE_RETURN_IF_ERROR(CheckFormats(inputs));

  const PoolSpec& pool = model_.pools[row.pool];
  if (!row.writes || !state.writes) {
    return Invalid("layer ", layer, " only reads pool ", pool.name,
                   ": another layer writes its rows");
  }
  const int num_planes = static_cast<int>(pool.planes.size());
  const LayerPages& overlap = LayerOf(layer).of(PoolKind::kOverlap);
  CompressParams params{};
  params.layer = layer;
  params.pool_index = row.pool;
  params.pool = geometry_.pools[row.pool];
  params.max_drafts = geometry_.max_drafts;
  params.state = StatePagesOf(state);
  if (overlap.pool >= 0 && overlap.writes) params.overlap = StatePagesOf(overlap);
  TERRACE_RETURN_IF_ERROR(CheckState(layer, row, state, overlap));
  if (num_planes == 1 && inputs.indexer.kv != nullptr) {
    return Invalid("pool ", pool.name, " has no indexer plane");
  }
  for (int plane = 0; plane < num_planes; ++plane) {
    TERRACE_RETURN_IF_ERROR(AddCompressPlane(layer, row, plane, inputs, &params));
  }

  const int32_t step_rows = step_.num_token_rows;
  params.max_token_rows = step_rows;
  params.max_entry_rows = step_.num_entry_rows[row.pool];
  params.max_sequences = step_.num_sequences;
  if (inputs.capacity != 0) {
    if (inputs.capacity < step_rows || inputs.capacity > geometry_.max_step_tokens) {
      return Invalid("capacity is ", inputs.capacity, ", not in ", step_rows, "..",
                     geometry_.max_step_tokens, " (the step's rows, the most of any step)");
    }
    params.max_token_rows = inputs.capacity;
    params.max_sequences = std::min(inputs.capacity, geometry_.max_sequences);
    params.max_entry_rows = static_cast<int32_t>(
        std::min<int64_t>(inputs.capacity, MaxEntryRows(geometry_, PoolIndex(row.pool))));
  }
  if (params.max_token_rows == 0) return absl::OkStatus();
  params.step = view_;
  params.slots = view_.slots[row.pool];
  params.positions = view_.entry_position[row.pool];
  params.state_table = view_.block_table[state.pool];
  absl::Status status = On(stream).Compress(params, stream);
  if (status.ok()) MarkWritten(row);
  // Also where it failed: a part may have been enqueued. Behind a snapshot nothing is folded.
  if (step_.kind == PlanKind::kStep) folded_number_ = step_.number;
  return status;
}

}  // namespace terrace::internal
