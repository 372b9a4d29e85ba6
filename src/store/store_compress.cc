// Compress, and what Begin does to the compressor's state.

#include <algorithm>

#include "src/plan/step_expand.h"
#include "src/store/store_impl.h"

namespace terrace {

// None for pool -1, and for one that has no blocks.
StatePages Store::Impl::StatePagesOf(const Row& row) const {
  if (row.pool < 0) return {};
  const PoolMemory& memory = pools_[row.pool];
  if (memory.base == nullptr) return {};
  return {memory.base + row.row * memory.place.layer_stride, memory.place.block_stride,
          geometry_.pools[row.pool].capacity_blocks};
}

// No rows for pool -1, and for one that no layer of this store writes.
PoolStatePages Store::Impl::LayerPagesOf(int pool) const {
  if (pool < 0) return {};
  const PoolMemory& memory = pools_[pool];
  return {{memory.base, memory.place.block_stride, geometry_.pools[pool].capacity_blocks},
          memory.place.layer_stride,
          memory.base == nullptr ? 0 : memory.place.layers};
}

CsaStateLayout Store::Impl::CsaLayout() const {
  int32_t indexer_channels = 0;
  for (const PoolSpec& pool : model_.pools) {
    if (pool.kind == PoolKind::kFull && pool.ratio == kCsaRatio && pool.planes.size() > 1) {
      indexer_channels = kIndexerChannels;
    }
  }
  return {indexer_channels, geometry_.max_drafts};
}

absl::Status Store::Impl::EnqueueCaptureOverlap(const CheckpointRecord* records, int32_t count,
                                                Stream stream) {
  CaptureOverlapParams params{};
  params.state = LayerPagesOf(CsaStatePool(geometry_));
  params.overlap = LayerPagesOf(geometry_.overlap_pool);
  if (count == 0 || params.state.rows == 0 || params.overlap.rows == 0) return absl::OkStatus();
  params.layout = CsaLayout();
  params.records = records;
  params.count = count;
  return backend_->CaptureOverlap(params, stream);
}

absl::Status Store::Impl::EnqueueRestoreState(const RestoreRecord* records, int32_t count,
                                              Stream stream) {
  const int csa_pool = StatePool(model_, kCsaRatio);
  const int hca_pool = StatePool(model_, kHcaRatio);
  RestoreStateParams params{};
  params.csa_state = LayerPagesOf(csa_pool);
  params.hca_state = LayerPagesOf(hca_pool);
  if (count == 0 || params.csa_state.rows + params.hca_state.rows == 0) return absl::OkStatus();
  params.csa_layout = CsaLayout();
  params.overlap = LayerPagesOf(geometry_.overlap_pool);
  if (csa_pool >= 0) params.csa_table = view_.block_table[csa_pool];
  if (hca_pool >= 0) params.hca_table = view_.block_table[hca_pool];
  params.records = records;
  params.count = count;
  return backend_->RestoreState(params, stream);
}

// A model may say anything of pages that hold no rows; these must be the compressor's.
absl::Status Store::Impl::CheckState(int layer_index, const Row& row, const Row& state,
                                     const Row& overlap) const {
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

absl::Status Store::Impl::AddCompressPlane(int layer_index, const Row& row, int plane,
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
    absl::StatusOr<RopeTableView> rope = RopeOf(layer_index);
    if (!rope.ok()) return rope.status();
    out.rope = *rope;
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

absl::Status Store::Compress(int layer, const CompressInputs& inputs, Stream stream) {
  Impl& impl = *impl_;
  if (absl::Status status = impl.CheckStepBegun(); !status.ok()) return status;
  const absl::StatusOr<Impl::Row> state = impl.FindRow(layer, PoolKind::kState);
  if (!state.ok()) return state.status();
  const absl::StatusOr<Impl::Row> row = impl.FindRow(layer, PoolKind::kFull);
  if (!row.ok()) return row.status();
  if (absl::Status status = CheckFormats(inputs); !status.ok()) return status;

  const PoolSpec& pool = impl.model_.pools[row->pool];
  if (!row->writes || !state->writes) {
    return Invalid("layer ", layer, " only reads pool ", pool.name,
                   ": another layer writes its rows");
  }
  const int num_planes = static_cast<int>(pool.planes.size());
  const Impl::Row& overlap = impl.layer(layer).row(PoolKind::kOverlap);
  CompressParams params{};
  params.pool_index = row->pool;
  params.pool = impl.geometry_.pools[row->pool];
  params.max_drafts = impl.geometry_.max_drafts;
  params.state = impl.StatePagesOf(*state);
  if (overlap.pool >= 0 && overlap.writes) params.overlap = impl.StatePagesOf(overlap);
  if (absl::Status status = impl.CheckState(layer, *row, *state, overlap); !status.ok()) {
    return status;
  }
  if (num_planes == 1 && inputs.indexer.kv != nullptr) {
    return Invalid("pool ", pool.name, " has no indexer plane");
  }
  for (int plane = 0; plane < num_planes; ++plane) {
    absl::Status status = impl.AddCompressPlane(layer, *row, plane, inputs, &params);
    if (!status.ok()) return status;
  }

  const int32_t step_rows = impl.step_.num_token_rows;
  params.max_token_rows = step_rows;
  params.max_entry_rows = impl.step_.num_entry_rows[row->pool];
  params.max_sequences = impl.step_.num_sequences;
  if (inputs.capacity != 0) {
    if (inputs.capacity < step_rows || inputs.capacity > impl.geometry_.max_step_tokens) {
      return Invalid("capacity is ", inputs.capacity, ", not in ", step_rows, "..",
                     impl.geometry_.max_step_tokens, " (the step's rows, the most of any step)");
    }
    params.max_token_rows = inputs.capacity;
    params.max_sequences = std::min(inputs.capacity, impl.geometry_.max_sequences);
    params.max_entry_rows = static_cast<int32_t>(
        std::min<int64_t>(inputs.capacity, MaxEntryRows(impl.geometry_, row->pool)));
  }
  if (params.max_token_rows == 0) return absl::OkStatus();
  params.step = impl.view_;
  params.slots = impl.view_.slots[row->pool];
  params.positions = impl.view_.entry_position[row->pool];
  params.state_table = impl.view_.block_table[state->pool];
  absl::Status status = impl.backend_->Compress(params, stream);
  if (status.ok()) impl.MarkWritten(*row);
  return status;
}

}  // namespace terrace
