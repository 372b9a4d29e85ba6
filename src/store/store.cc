// The public calls, each where store_impl.h says.

#include "terrace/store.h"

#include <utility>

#include "src/base/status_macros.h"
#include "src/store/store_impl.h"

namespace terrace {

absl::StatusOr<std::unique_ptr<Store>> Store::Create(const StoreOptions& options,
                                                     std::shared_ptr<Backend> backend) {
  TERRACE_ASSIGN_OR_RETURN(auto impl, internal::StoreImpl::Create(options, std::move(backend)));
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

Store::Store(std::unique_ptr<internal::StoreImpl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

absl::Status Store::SetRopeTables(absl::Span<const RopeTableView> tables) {
  return impl_->SetRopeTables(tables);
}

absl::Status Store::SetGlobalScale(int layer, PoolKind pool, float scale) {
  return impl_->SetGlobalScale(layer, pool, scale);
}

absl::Status Store::Begin(const Plan& plan, Stream stream, int32_t padded_token_rows) {
  return impl_->Begin(plan, stream, padded_token_rows);
}

absl::Status Store::Write(int layer, const LayerRows& rows, Stream stream) {
  return impl_->Write(layer, rows, stream);
}

absl::Status Store::TranslateTopK(int layer, const Queries& queries, const TopK& top_k,
                                  const SlotsOut& out, Stream stream) {
  return impl_->TranslateTopK(layer, queries, top_k, out, stream);
}

absl::Status Store::TranslateVisible(int layer, const Queries& queries, int32_t max_entries,
                                     const SlotsOut& out, Stream stream) {
  return impl_->TranslateVisible(layer, queries, max_entries, out, stream);
}

absl::Status Store::TranslateWindow(int layer, const Queries& queries, const SlotsOut& out,
                                    Stream stream) {
  return impl_->TranslateWindow(layer, queries, out, stream);
}

absl::Status Store::Compress(int layer, const CompressInputs& inputs, Stream stream) {
  return impl_->Compress(layer, inputs, stream);
}

absl::Status Store::GatherTopK(int layer, const Queries& queries, const TopK& top_k,
                               const RowsOut& out, Stream stream, PlaneKind plane) {
  return impl_->GatherTopK(layer, queries, top_k, out, stream, plane);
}

absl::Status Store::GatherVisible(int layer, const Queries& queries, int32_t max_entries,
                                  const RowsOut& out, Stream stream, PlaneKind plane) {
  return impl_->GatherVisible(layer, queries, max_entries, out, stream, plane);
}

absl::Status Store::GatherWindow(int layer, const Queries& queries, const RowsOut& out,
                                 Stream stream) {
  return impl_->GatherWindow(layer, queries, out, stream);
}

absl::Status Store::WriteSlots(int layer, PoolKind pool, PlaneKind plane, const RowsIn& rows,
                               const SlotList& slots, Stream stream) {
  return impl_->WriteSlots(layer, pool, plane, rows, slots, stream);
}

absl::Status Store::ReadSlots(int layer, PoolKind pool, PlaneKind plane, const SlotList& slots,
                              const RowsOut& out, Stream stream) {
  return impl_->ReadSlots(layer, pool, plane, slots, out, stream);
}

absl::Status Store::CopyBlocks(absl::Span<const BlockCopy> copies, Stream stream) {
  return impl_->CopyBlocks(copies, stream);
}

absl::StatusOr<PageView> Store::Pages(int layer, PoolKind pool, PlaneKind plane) const {
  return impl_->Pages(layer, pool, plane);
}

Counters Store::ReadCounters() const { return impl_->backend().ReadCounters(); }
const PlanHeader& Store::step() const { return impl_->step(); }
const StepView& Store::step_view() const { return impl_->step_view(); }
Backend& Store::backend() { return impl_->backend(); }
const Geometry& Store::geometry() const { return impl_->geometry(); }
LayerRange Store::layers() const { return impl_->layers(); }
int64_t Store::memory_bytes() const { return impl_->memory_bytes(); }
Stream Store::stream() const { return impl_->stream(); }

}  // namespace terrace
