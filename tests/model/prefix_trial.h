// PrefixTrial runs instructions on a ledger that reuses prefixes and on a twin, and has a
// PrefixModel look at all that comes out. Instructions are drawn at random by prefix_model_test.cc
// and read from bytes by fuzz/ledger_fuzz.cc.
//
// Prompts are texts of a small tree under two salts, so that sequences meet, part and follow each
// other. Some calls are first made to run short at every place where they take blocks: what fails
// must change nothing, and the twin, which never saw those failures, goes on making the same plans,
// byte for byte.

#ifndef TERRACE_TESTS_MODEL_PREFIX_TRIAL_H_
#define TERRACE_TESTS_MODEL_PREFIX_TRIAL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "terrace/ledger.h"
#include "tests/model/prefix_model.h"

namespace terrace::testing {

inline constexpr int kNumTexts = 16;
inline constexpr int kNumSalts = 2;
inline constexpr int kNumPictures = 5;  // sets of key ranges; the first is empty

struct PrefixInstruction {
  enum class Kind {
    kAllocate,
    kProbe,
    kExtend,
    kFork,
    kAppend,
    kCommit,
    kTruncate,
    kFree,
    kRetire,
    kSetTime,
    kClear,
    kAbandon,
    kDistrust
  };
  Kind kind = Kind::kProbe;
  SequenceId id = {};
  // allocate, commit: tokens; truncate: length; retire, abandon: plan; distrust: from
  int64_t number = 0;
  int32_t variant = 0;  // allocate, probe: of the text
  int32_t salt = 0;     // allocate, probe
  int32_t picture = 0;  // allocate, probe: which key ranges
  std::vector<int32_t> marks = {};
  RefeedLimits refeed = {};  // allocate, probe
  Priority priority = Priority::kNormal;
  int64_t time_to_live_ms = 0;
  bool ids_ahead = false;               // allocate
  bool inject = false;                  // append, commit: run it short first
  uint32_t wrong = 0;                   // append: bit i: draft i is not what the text says next
  std::vector<StepRequest> batch = {};  // append

  std::string ToString() const;
};

class PrefixTrial {
 public:
  // Sets record_events and inject_shortage itself.
  explicit PrefixTrial(LedgerOptions options);

  // One operation; the first fault found so far, or nothing.
  std::string Execute(const PrefixInstruction& instruction);
  // Ends every sequence and forgets all prefixes: then every block must be free.
  std::string Finish();

  const PrefixModel& model() const { return model_; }
  PrefixFigures figures() const { return ledger_->prefix_figures(); }
  std::string History() const;  // the last instructions, one a line
  // What a run met.
  struct Counts {
    int64_t steps = 0;
    int64_t short_of_blocks = 0;
    int64_t injected = 0;
    int64_t resumed = 0;
    int64_t refeeds = 0;
    int64_t extended = 0;
    int64_t abandoned = 0;   // sequences
    int64_t recovered = 0;   // of them, those that found something
    int64_t distrusted = 0;  // sequences
  };
  const Counts& counts() const { return counts_; }

 private:
  using Kind = PrefixInstruction::Kind;
  using Call = std::function<absl::Status(Ledger&)>;

  std::string Fault() const { return fault_.empty() ? model_.fault() : fault_; }
  void Run(const PrefixInstruction& in);
  SequenceRequest RequestOf(const PrefixInstruction& in);
  void Allocate(const PrefixInstruction& in);
  void Probe(const PrefixInstruction& in);
  void Extend(const PrefixInstruction& in);
  void Fork(const PrefixInstruction& in);
  void Append(const PrefixInstruction& in);
  void Commit(const PrefixInstruction& in);
  void Truncate(const PrefixInstruction& in);
  void Free(const PrefixInstruction& in);
  void Retire(const PrefixInstruction& in);
  void Abandon(const PrefixInstruction& in);
  void Distrust(const PrefixInstruction& in);
  void GuessTokens(const StepRequest& request, uint32_t wrong);
  // Makes the call run short at its first, second, ... place that takes blocks, until it has fewer
  // places or does without. `call` then runs on the twin too; returns how it ended.
  absl::Status WithShortages(bool inject, const Call& call);
  bool Injected(int& countdown, PoolIndex pool);
  std::string Dump() const;
  bool Expect(bool condition, absl::string_view what);

  static constexpr int kNever = -1;

  const LedgerOptions options_;
  PrefixModel model_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Ledger> twin_;
  std::map<int32_t, int32_t> texts_;  // by sequence
  std::vector<int32_t> prompt_;
  std::deque<std::string> history_;
  std::string fault_;
  Counts counts_;
  int countdown_ = kNever;  // calls of the hook until it says yes
  int twin_countdown_ = kNever;
  PoolIndex injected_pool_ = kNoPool;  // where it did
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_MODEL_PREFIX_TRIAL_H_
