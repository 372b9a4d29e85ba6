// A backend that MakeBackend did not make has no kernels: a store refuses it.

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/model/geometry_builder.h"
#include "terrace/store.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

// A caller's own, which has all that Backend asks for.
class ForeignBackend final : public Backend {
 public:
  absl::string_view name() const override { return "foreign"; }
  absl::StatusOr<void*> Allocate(int64_t /*bytes*/, Stream /*stream*/) override {
    ++calls;
    return nullptr;
  }
  void Free(void* /*memory*/, Stream /*stream*/) override { ++calls; }
  absl::Status Upload(void* /*to*/, const void* /*from*/, int64_t /*bytes*/,
                      Stream /*stream*/) override {
    ++calls;
    return absl::OkStatus();
  }
  absl::Status Download(void* /*to*/, const void* /*from*/, int64_t /*bytes*/,
                        Stream /*stream*/) override {
    ++calls;
    return absl::OkStatus();
  }
  absl::Status Synchronize(Stream /*stream*/) override {
    ++calls;
    return absl::OkStatus();
  }
  Counters* counters() override { return &counters_; }
  Counters ReadCounters() const override { return counters_; }

  int calls = 0;

 private:
  Counters counters_;
};

TEST(ForeignBackendTest, AStoreRefusesABackendWithoutKernels) {
  const ModelSpec model = DeepSeekV4Flash();
  const std::vector<int32_t> capacities(model.pools.size(), 8);
  const Geometry geometry = *internal::MakeGeometry(model, {}, capacities);
  const auto backend = std::make_shared<ForeignBackend>();
  const absl::Status status =
      Store::Create({.model = model, .geometry = geometry}, backend).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("backend foreign is none that MakeBackend"));
  EXPECT_EQ(backend->calls, 0);
  EXPECT_EQ(backend.use_count(), 1);
}

}  // namespace
}  // namespace terrace::testing
