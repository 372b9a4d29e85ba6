// A ledger here, a store there: plans travel as bytes through a pipe to another process, whose
// pools end byte for byte like those of a store beside the ledger.
//
// Run with the argument "worker" this program is that other process.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/store_driver.h"
#include "tests/support/store_scenario.h"
#include "xxhash.h"

namespace terrace::testing {
namespace {

constexpr int kSteps = 30;

bool ReadAll(int file, void* to, size_t bytes) {
  for (char* at = static_cast<char*>(to); bytes > 0;) {
    const ssize_t got = read(file, at, bytes);
    if (got <= 0) return false;
    at += got;
    bytes -= got;
  }
  return true;
}

bool WriteAll(int file, const void* from, size_t bytes) {
  for (const char* at = static_cast<const char*>(from); bytes > 0;) {
    const ssize_t put = write(file, at, bytes);
    if (put <= 0) return false;
    at += put;
    bytes -= put;
  }
  return true;
}

// A model that both processes know, in place of a configuration file.
Scenario SharedScenario() {
  Scenario scenario = MakeScenario(3);
  scenario.stores = {{0, static_cast<int32_t>(scenario.model.layers.size())}};
  return scenario;
}

// Begins each plan and writes rows that the plan alone determines; reads nothing back.
class Worker {
 public:
  Worker() : scenario_(SharedScenario()), backend_(*MakeBackend({.kind = BackendKind::kHost})) {
    store_ = *Store::Create({.model = scenario_.model, .geometry = scenario_.geometry}, backend_);
  }

  absl::Status Run(const Plan& plan) {
    if (absl::Status status = store_->Begin(plan, Stream{}); !status.ok()) return status;
    for (size_t l = 0; l < scenario_.model.layers.size(); ++l) {
      LayerRows rows;
      std::vector<std::vector<uint16_t>> inputs(3);
      for (const LayerPool& use : scenario_.model.layers[l].pools) {
        if (!use.writes) continue;
        const PoolSpec& pool = scenario_.model.pools[use.pool];
        const bool is_window = pool.kind == PoolKind::kWindow;
        const int32_t count =
            is_window ? plan.header().num_token_rows : plan.header().num_entry_rows[use.pool];
        for (size_t plane = 0; plane < pool.planes.size(); ++plane) {
          std::vector<uint16_t>& input = inputs[is_window ? 0 : 1 + plane];
          for (int32_t row = 0; row < count; ++row) {
            const RowBits bits = RowContent(0, row, l, plane, plan.number().value());
            input.insert(input.end(), bits.begin(), bits.end());
          }
          input.resize(input.size() + 8);  // no rows have an address too
          RowsIn& in = is_window ? rows.swa : plane == 0 ? rows.entries : rows.indexer;
          in = {.data = input.data(), .rotated = true};
        }
      }
      if (absl::Status status = store_->Write(l, rows, Stream{}); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Of all bytes of all pools.
  uint64_t Hash() {
    uint64_t hash = 0;
    for (int p = 0; p < scenario_.geometry.num_pools; ++p) {
      const PoolSpec& pool = scenario_.model.pools[p];
      const LayerRange all = scenario_.stores[0];
      const PoolImage image(pool, CountLayers(scenario_.model, PoolIndex(p), all),
                            scenario_.geometry.pools[p].capacity_blocks);
      hash = XXH3_64bits_withSeed(FirstPage(p, pool.kind), image.bytes().size(), hash);
    }
    return hash;
  }

  const Geometry& geometry() const { return scenario_.geometry; }

 private:
  const void* FirstPage(int pool, PoolKind kind) const {
    for (size_t l = 0; l < scenario_.model.layers.size(); ++l) {
      for (const LayerPool& use : scenario_.model.layers[l].pools) {
        if (use.pool == pool && use.index == 0) return store_->Pages(l, kind)->base;
      }
    }
    return nullptr;
  }

  Scenario scenario_;
  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Store> store_;
};

// Reads plans (length, bytes) from standard input until it ends, then answers with the hash.
int RunWorker() {
  Worker worker;
  uint64_t bytes = 0;
  while (ReadAll(STDIN_FILENO, &bytes, sizeof(bytes))) {
    std::vector<std::byte> message(bytes);
    if (!ReadAll(STDIN_FILENO, message.data(), bytes)) return 3;
    absl::StatusOr<Plan> plan = Plan::Parse(message, worker.geometry());
    const absl::Status status = plan.ok() ? worker.Run(*plan) : plan.status();
    if (!status.ok()) {
      std::fprintf(stderr, "worker: %s\n", status.ToString().c_str());
      return 4;
    }
  }
  const uint64_t hash = worker.Hash();
  return WriteAll(STDOUT_FILENO, &hash, sizeof(hash)) ? 0 : 5;
}

TEST(TwoProcessTest, AStoreInAnotherProcessFollowsTheLedgerByPlanBytesAlone) {
  int plans[2];
  int answer[2];
  ASSERT_EQ(pipe(plans), 0);
  ASSERT_EQ(pipe(answer), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    dup2(plans[0], STDIN_FILENO);
    dup2(answer[1], STDOUT_FILENO);
    for (const int file : {plans[0], plans[1], answer[0], answer[1]}) close(file);
    execl("/proc/self/exe", "two_process_test", "worker", nullptr);
    _exit(127);
  }
  close(plans[0]);
  close(answer[1]);

  Worker here;
  const uint64_t untouched = here.Hash();
  Traffic traffic(SharedScenario());
  for (int i = 0; i < kSteps; ++i) {
    const TrafficStep step = traffic.Next();
    const absl::Status status = here.Run(step.plan);
    ASSERT_TRUE(status.ok()) << status;
    const absl::Span<const std::byte> message = step.plan.bytes();
    const uint64_t bytes = message.size();
    ASSERT_TRUE(WriteAll(plans[1], &bytes, sizeof(bytes)));
    ASSERT_TRUE(WriteAll(plans[1], message.data(), bytes));
  }
  close(plans[1]);
  uint64_t hash = 0;
  EXPECT_TRUE(ReadAll(answer[0], &hash, sizeof(hash)));
  close(answer[0]);
  int exit_status = 0;
  ASSERT_EQ(waitpid(child, &exit_status, 0), child);
  EXPECT_TRUE(WIFEXITED(exit_status) && WEXITSTATUS(exit_status) == 0) << exit_status;
  EXPECT_EQ(hash, here.Hash());
  EXPECT_NE(hash, untouched);
}

}  // namespace
}  // namespace terrace::testing

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "worker") return terrace::testing::RunWorker();
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
