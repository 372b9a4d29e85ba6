// LedgerModel is what a Ledger must do, as dumb as can be: maps and sets, positions one by one, the
// rules of docs/design.md section 4 retold without the library's own arithmetic. It predicts the
// outcome of each call, then checks the plan that came out against what sequences own.

#ifndef TERRACE_TESTS_MODEL_LEDGER_MODEL_H_
#define TERRACE_TESTS_MODEL_LEDGER_MODEL_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "terrace/ledger.h"

namespace terrace::testing {

struct ModelSequence {
  int32_t length = 0;
  int32_t known = 0;
  int32_t draft_begin = 0;
  bool ids_ahead = false;
  std::vector<std::map<int32_t, int32_t>> blocks;  // [pool] index -> block
  std::vector<int32_t> row_block;  // [position] the window block its row was written to, or -1

  int32_t undecided() const;
};

// What a call is expected to answer.
struct Outcome {
  absl::StatusCode code = absl::StatusCode::kOk;
  std::optional<Shortage> shortage;
};

class LedgerModel {
 public:
  LedgerModel(const Geometry& geometry, int32_t in_flight_plans);

  Outcome ExpectAllocate(int64_t prompt_tokens) const;
  Outcome ExpectAppend(absl::Span<const StepRequest> batch) const;
  Outcome ExpectCommit(SequenceId id, int64_t tokens) const;
  Outcome ExpectTruncate(SequenceId id, int32_t length) const;
  Outcome ExpectFree(SequenceId id) const;
  Outcome ExpectRetire(uint64_t plan) const;

  // Carry out what was expected to succeed, and find fault with the answer.
  void Allocate(SequenceId id, int32_t prompt_tokens, bool ids_ahead);
  void Append(absl::Span<const StepRequest> batch, const Plan& plan);
  void Commit(SequenceId id, int32_t tokens);
  void Truncate(SequenceId id, int32_t length);
  void Free(SequenceId id);
  void Retire(uint64_t plan);
  void CheckSnapshot(const Plan& plan);
  void CheckAgainst(const Ledger& ledger);  // counts of pools and sequences

  // The first fault found; empty if none.
  const std::string& fault() const { return fault_; }

  const std::map<std::pair<int32_t, uint32_t>, ModelSequence>& sequences() const {
    return sequences_;
  }
  uint64_t last_plan() const { return last_plan_; }
  uint64_t retired() const { return retired_; }

 private:
  struct Change {
    std::set<int32_t> released;  // indices
    std::set<int32_t> taken;
  };
  std::vector<Change> ChangesOf(const ModelSequence& sequence, const StepRequest& request) const;
  const ModelSequence* Find(SequenceId id) const;
  ModelSequence* Find(SequenceId id);
  bool idle() const { return in_flight_plans_ == 0 || retired_ == last_plan_; }
  int32_t NumFree(int pool) const;
  void Release(int pool, ModelSequence& sequence, int32_t index);
  void ApplyPatches(const Plan& plan);
  void CheckRows(const SequenceStep& part, ModelSequence& sequence);
  void Expect(bool condition, const char* what);

  const Geometry geometry_;
  const int32_t in_flight_plans_;
  std::map<std::pair<int32_t, uint32_t>, ModelSequence> sequences_;  // by sequence and generation
  std::vector<std::map<int32_t, int32_t>> owner_;                    // [pool] block -> sequence
  std::vector<std::map<int32_t, uint64_t>> draining_;                // [pool] block -> plan
  std::vector<std::vector<std::vector<int32_t>>>
      tables_;                                   // [pool][sequence][index], kept by patches
  std::set<std::pair<int32_t, uint32_t>> ever_;  // handles given so far
  uint64_t last_plan_ = 0;
  uint64_t retired_ = 0;
  std::string fault_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_MODEL_LEDGER_MODEL_H_
