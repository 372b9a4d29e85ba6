// RandomChoices draws what the generators of random operations have in common. Mostly it is
// sensible: drafts are decided before the next step, full sequences are freed. Now and then it is a
// stale handle, a duplicate or a number beyond a limit.

#ifndef TERRACE_TESTS_SUPPORT_RANDOM_CHOICES_H_
#define TERRACE_TESTS_SUPPORT_RANDOM_CHOICES_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include "terrace/geometry.h"
#include "terrace/ids.h"
#include "terrace/ledger.h"

namespace terrace::testing {

// REQUIRES: Model has sequences(), a map from index and generation, last_plan() and retired(). Its
// sequences have a length, what is known, and undecided().
template <typename Model>
class RandomChoices {
 public:
  RandomChoices(const Geometry& geometry, int32_t in_flight_plans, uint64_t seed)
      : geometry_(geometry), in_flight_plans_(in_flight_plans), random_(seed) {}

 protected:
  using Sequences = std::remove_cvref_t<decltype(std::declval<const Model&>().sequences())>;
  struct Live {
    SequenceId id;
    const typename Sequences::mapped_type* sequence;
  };

  // Everything below is about the sequences that live in `model` now.
  void LookAt(const Model& model) {
    live_.clear();
    for (const auto& [key, sequence] : model.sequences()) {
      live_.push_back({{key.first, key.second}, &sequence});
    }
  }

  int32_t Below(int64_t limit) { return static_cast<int32_t>(random_() % limit); }
  bool Rarely() { return Below(50) == 0; }

  const Live& Any() { return live_[Below(live_.size())]; }
  // One for which `holds`, if a few tries find it.
  template <typename Predicate>
  const Live& AnyThat(const Predicate& holds) {
    const Live* live = &Any();
    for (int i = 0; i < 4 && !holds(*live->sequence); ++i) live = &Any();
    return *live;
  }
  // One that can grow no more, if there is one.
  const Live& Oldest() {
    const Live* oldest = &Any();
    for (const Live& live : live_) {
      if (live.sequence->length == geometry_.max_context_tokens) oldest = &live;
    }
    return *oldest;
  }

  // A live handle; rarely one that is stale, was never given or is out of range.
  SequenceId Handle(SequenceId id) {
    if (!Rarely()) return id;
    const int32_t delta = Below(5) - 2;
    return Below(2) == 0 ? SequenceId{id.index, id.generation + delta}
                         : SequenceId{id.index + 3 * delta, id.generation};
  }

  // Whether the next plan needs that one is retired first.
  bool MustRetire(const Model& model) {
    const uint64_t in_flight = model.last_plan() - model.retired();
    return in_flight_plans_ > 0 && in_flight >= in_flight_plans_ && !Rarely();
  }
  int64_t PickPlan(const Model& model) {
    const int64_t last = static_cast<int64_t>(model.last_plan());
    return Rarely() ? last + 1 - Below(6) : last - Below(2);
  }

  // The length that some of the undecided drafts leave; nothing if none are to be taken back.
  std::optional<int32_t> TakenBack(const Live& live) {
    if (live.sequence->undecided() == 0 || Below(2) != 0) return std::nullopt;
    const int32_t back = Below(live.sequence->undecided() + 1) + (Rarely() ? 1 : 0);
    return live.sequence->length - back;
  }

  // A batch of one to four steps, each by `request(live, room)`.
  template <typename Request>
  std::vector<StepRequest> Batch(const Request& request) {
    std::vector<StepRequest> batch;
    const size_t wanted = 1 + Below(4);
    std::shuffle(live_.begin(), live_.end(), random_);
    for (const Live& live : live_) {
      const int32_t room = geometry_.max_context_tokens - live.sequence->length;
      if (batch.size() == wanted) break;
      if ((room == 0 || live.sequence->undecided() > 0) && !Rarely()) continue;
      batch.push_back(request(live, room));
    }
    if (!batch.empty() && Rarely()) batch.push_back(batch[0]);
    return batch;
  }
  int32_t StepTokens() {
    int32_t tokens = 1;
    if (Below(4) == 0) tokens = 1 + Below(geometry_.max_drafts + 1);
    if (Below(8) == 0) tokens = 1 + Below(300);
    if (Below(64) == 0) tokens = 1 + Below(geometry_.max_step_tokens);
    return tokens;
  }

  const Geometry& geometry_;
  const uint64_t in_flight_plans_;
  std::mt19937_64 random_;
  std::vector<Live> live_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_RANDOM_CHOICES_H_
