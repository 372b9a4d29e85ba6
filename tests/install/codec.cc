// Encodes rows with the installed row_codec.h, compiled with other options than the library, and
// compares their bytes with those that the store wrote. Exits 0 iff all are equal.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "terrace/formats/row_codec.h"
#include "terrace/terrace.h"

namespace {

constexpr int32_t kTokens = 64;  // a block
constexpr int32_t kChannels = terrace::kLatentChannels;

template <terrace::RowFormat F>
absl::Status Compare(const std::vector<uint16_t>& rows, const std::vector<float>& table,
                     bool rotates, const terrace::PageView& page) {
  const uint8_t* const stored = static_cast<const uint8_t*>(page.base);
  for (int32_t i = 0; i < kTokens; ++i) {
    uint8_t data[2 * kChannels] = {};
    uint8_t scale[64] = {};
    const float* const rope = rotates ? table.data() + i * terrace::kRopeChannels : nullptr;
    terrace::EncodeRow<F>(rows.data() + i * kChannels, rope, 1.0f, data, scale);
    const uint8_t* const of_scales = stored + page.scale_offset + i * page.scale_stride;
    if (std::memcmp(data, stored + i * page.data_stride, page.data_bytes) != 0 ||
        std::memcmp(scale, of_scales, page.scale_bytes) != 0) {
      return absl::InternalError(absl::StrCat("row ", i, " of ", terrace::RowFormatName(F)));
    }
  }
  return absl::OkStatus();
}

template <terrace::RowFormat F>
absl::Status Check() {
  auto model = terrace::MakeModel({.ratios = {0}, .latent_format = F});
  if (!model.ok()) return model.status();
  const bool rotates = model->pools[0].planes[0].rope_before_store;
  auto cache = terrace::Cache::Create(
      {.model = *model,
       .memory_bytes = 64 * terrace::kMiB,
       .limits = {.max_sequences = 1, .max_step_tokens = kTokens, .max_context_tokens = 1024},
       .backend = {.kind = terrace::BackendKind::kHost}});
  if (!cache.ok()) return cache.status();
  std::vector<float> table(1024 * terrace::kRopeChannels);
  const std::vector<terrace::RopeTableView> tables(model->ropes.size(), {table.data(), 1024});
  if (auto status = (*cache)->store().SetRopeTables(tables); !status.ok()) return status;
  std::vector<int32_t> slots(kTokens);
  for (int32_t i = 0; i < kTokens; ++i) slots[i] = i;
  const terrace::SlotList list{.slots = slots.data(), .positions = slots.data(), .count = kTokens};
  const auto pool = terrace::PoolKind::kWindow;
  const auto page = (*cache)->Pages(0, pool);
  if (!page.ok()) return page.status();

  // A fused product changes one bf16 in some 60,000.
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> rows(kTokens * kChannels);
  for (int round = 0; round < 200; ++round) {
    for (uint16_t& value : rows) value = terrace::Bf16FromFloat(normal(random));
    for (float& value : table) value = normal(random);
    absl::Status status = (*cache)->WriteSlots(0, pool, terrace::PlaneKind::kLatent,
                                               {.data = rows.data()}, list, terrace::Stream{});
    status.Update(Compare<F>(rows, table, rotates, *page));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

int main() {
  using terrace::RowFormat;
  absl::Status status = Check<RowFormat::kBf16>();
  status.Update(Check<RowFormat::kFp8PerToken>());
  status.Update(Check<RowFormat::kNvfp4>());
  status.Update(Check<RowFormat::kFlashMlaV4>());
  status.Update(Check<RowFormat::kMxfp8V41>());
  std::puts(status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
