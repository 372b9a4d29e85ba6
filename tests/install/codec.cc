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
    const uint8_t* const of_scales = stored + kTokens * page.data_bytes + i * page.scale_bytes;
    if (std::memcmp(data, stored + i * page.data_bytes, page.data_bytes) != 0 ||
        std::memcmp(scale, of_scales, page.scale_bytes) != 0) {
      return absl::InternalError(absl::StrCat("row ", i, " of ", terrace::RowFormatName(F)));
    }
  }
  return absl::OkStatus();
}

template <terrace::RowFormat F>
absl::Status Check(bool rotates) {
  auto model = terrace::MakeModel({.ratios = {0}, .latent_format = F});
  if (!model.ok()) return model.status();
  auto cache = terrace::Cache::Create(
      {.model = *model,
       .memory_bytes = 64 * terrace::kMiB,
       .limits = {.max_sequences = 1, .max_step_tokens = kTokens, .max_context_tokens = 1024},
       .backend = {.kind = terrace::BackendKind::kHost}});
  if (!cache.ok()) return cache.status();
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> rows(kTokens * kChannels);
  for (uint16_t& value : rows) value = terrace::Bf16FromFloat(normal(random));
  std::vector<float> table(1024 * terrace::kRopeChannels);
  for (float& value : table) value = normal(random);
  const std::vector<terrace::RopeTableView> tables(model->ropes.size(), {table.data(), 1024});
  if (auto status = (*cache)->SetRopeTables(tables); !status.ok()) return status;

  std::vector<int32_t> slots(kTokens);
  for (int32_t i = 0; i < kTokens; ++i) slots[i] = i;
  const terrace::SlotList list{.slots = slots.data(), .positions = slots.data(), .count = kTokens};
  const auto pool = terrace::PoolKind::kWindow;
  absl::Status status = (*cache)->WriteSlots(0, pool, terrace::PlaneKind::kLatent,
                                             {.data = rows.data()}, list, terrace::Stream{});
  if (!status.ok()) return status;
  const auto page = (*cache)->Pages(0, pool);
  if (!page.ok()) return page.status();
  return Compare<F>(rows, table, rotates, *page);
}

}  // namespace

int main() {
  using terrace::RowFormat;
  absl::Status status = Check<RowFormat::kBf16>(false);
  status.Update(Check<RowFormat::kFp8PerToken>(false));
  status.Update(Check<RowFormat::kNvfp4>(false));
  status.Update(Check<RowFormat::kFlashMlaV4>(true));
  status.Update(Check<RowFormat::kMxfp8V41>(true));
  std::puts(status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
