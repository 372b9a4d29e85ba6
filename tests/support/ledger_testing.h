// LedgerFixture is a ledger whose calls must succeed, with CheckInvariants() after each.

#ifndef TERRACE_TESTS_SUPPORT_LEDGER_TESTING_H_
#define TERRACE_TESTS_SUPPORT_LEDGER_TESTING_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "terrace/ledger.h"
#include "tests/support/test_geometry.h"
#include "tests/support/use_of.h"

namespace terrace::testing {

struct LedgerFixture {
  explicit LedgerFixture(const TestGeometryOptions& options, int32_t in_flight_plans = 0)
      : LedgerFixture(in_flight_plans, MakeTestGeometry(options)) {}
  LedgerFixture(int32_t in_flight_plans, const Geometry& geometry) : geometry(geometry) {
    absl::StatusOr<std::unique_ptr<Ledger>> made =
        Ledger::Create({.geometry = geometry,
                        .epoch = 9,
                        .in_flight_plans = in_flight_plans,
                        .prefix = {.enabled = false}});
    EXPECT_TRUE(made.ok()) << made.status();
    ledger = *std::move(made);
  }

  SequenceId Allocate(int32_t prompt_tokens) {
    const std::vector<int32_t> prompt(prompt_tokens);
    const absl::StatusOr<Admission> made = ledger->AllocateSequence({prompt});
    return Check(made.status()) ? made->id : SequenceId{};
  }
  Plan Append(const std::vector<StepRequest>& batch) {
    absl::StatusOr<Plan> plan = ledger->Append(batch);
    Check(plan.status());
    return *std::move(plan);
  }
  void Commit(SequenceId id, int32_t tokens) {
    Check(ledger->Commit(id, std::vector<int32_t>(tokens)));
  }
  void Truncate(SequenceId id, int32_t length) { Check(ledger->Truncate(id, length)); }
  void Free(SequenceId id) { Check(ledger->FreeSequence(id)); }
  SequenceInfo Info(SequenceId id) const { return *ledger->Info(id); }
  int32_t Live(int pool) const { return UseOf(*ledger, pool).live; }

  // Table indices that `plan` patches in `pool`, in its order.
  static std::vector<int32_t> PatchedIndices(const Plan& plan, int pool) {
    std::vector<int32_t> indices;
    for (const BlockPatch& patch : plan.patches()) {
      if (patch.pool == pool) indices.push_back(patch.index);
    }
    return indices;
  }

  // Table indices of `pool` that the sequence holds.
  std::vector<int32_t> HeldIndices(SequenceId id, int pool) const {
    std::vector<int32_t> indices;
    const Plan snapshot = *ledger->Snapshot();
    for (const BlockPatch& patch : snapshot.patches()) {
      if (patch.pool == pool && patch.sequence_index == id.index) indices.push_back(patch.index);
    }
    return indices;
  }

  // All that can be seen of pools and tables.
  std::string Dump() const {
    const Plan snapshot = *ledger->Snapshot();
    std::string dump(reinterpret_cast<const char*>(snapshot.bytes().data()),
                     snapshot.bytes().size());
    for (int p = 0; p < geometry.num_pools; ++p) {
      const PoolUse use = UseOf(*ledger, p);
      absl::StrAppend(&dump, use.free, " ", use.live, " ", use.draining, ";");
    }
    return dump;
  }

  bool Check(const absl::Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    ledger->CheckInvariants();
    return status.ok();
  }

  Geometry geometry;
  std::unique_ptr<Ledger> ledger;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_LEDGER_TESTING_H_
