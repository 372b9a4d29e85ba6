#include "tools/terrace/trace/workload.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_format.h"
#include "terrace/units.h"
#include "tools/terrace/contents/hash.h"

namespace terrace::tools {
namespace {

// Shape of the conversation trace. An eighth of the prompts is a system prompt and a line, the rest
// are spread over two orders of magnitude. A fifth of the answers is a few words. A third of the
// requests continues an earlier conversation.
constexpr double kShortPromptShare = 0.125;
constexpr int32_t kShortPrompt = 890;
constexpr double kPromptSpread = 1.05;  // sigma of ln(tokens)
constexpr double kShortAnswerShare = 0.2;
constexpr double kShortAnswer = 25;
constexpr double kAnswerSpread = 0.45;
constexpr double kLongestAnswer = 2000;
constexpr double kFollowUpShare = 0.33;

// The standard library's distributions differ between machines; these do not.
class Chance {
 public:
  explicit Chance(uint64_t seed) : seed_(seed) {}
  double Uniform() { return UnitInterval(Mix(seed_, ++draws_)); }
  double Exponential(double mean) { return -mean * std::log1p(-Uniform()); }
  double LogNormal(double median, double sigma) {
    const double radius = std::sqrt(-2 * std::log1p(-Uniform()));
    return median * std::exp(sigma * radius * std::cos(2 * std::numbers::pi * Uniform()));
  }

 private:
  uint64_t seed_;
  uint64_t draws_ = 0;
};

int32_t Clamp(double tokens, double least, double most) {
  return static_cast<int32_t>(std::clamp(tokens, least, most));
}

}  // namespace

absl::StatusOr<std::vector<TraceRequest>> MakeWorkload(const WorkloadOptions& options) {
  const auto positive = [](double value) { return value > 0 && std::isfinite(value); };
  constexpr double kLongestSeconds = 1e12;
  if (options.requests < 1 || options.requests / options.requests_per_second > kLongestSeconds ||
      !positive(options.requests_per_second) || !positive(options.prompt_median) ||
      options.longest_prompt < 1 || !positive(options.output_median)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a workload needs positive numbers; got %d requests at %g a second, prompts "
        "of %g to %d tokens and answers of %g",
        options.requests, options.requests_per_second, options.prompt_median,
        options.longest_prompt, options.output_median));
  }
  Chance chance(options.seed);
  std::vector<TraceRequest> requests(options.requests);
  int64_t next_id = 1;  // id 0 is the system prompt that all begin with
  double now = 0;
  for (int32_t i = 0; i < options.requests; ++i) {
    TraceRequest& request = requests[i];
    request.arrival_ms = now;
    now += chance.Exponential(1000 / options.requests_per_second);

    const bool follows = i > 0 && chance.Uniform() < kFollowUpShare;
    const TraceRequest& earlier =
        requests[follows ? static_cast<int32_t>(chance.Uniform() * i) : 0];
    double tokens = chance.Uniform() < kShortPromptShare
                        ? kShortPrompt + chance.Exponential(40)
                        : chance.LogNormal(options.prompt_median, kPromptSpread);
    if (follows) tokens = earlier.input_length + earlier.output_length + chance.Exponential(400);
    request.input_length = Clamp(tokens, 1, options.longest_prompt);
    request.output_length =
        chance.Uniform() < kShortAnswerShare
            ? Clamp(chance.Exponential(kShortAnswer), 1, kLongestAnswer)
            : Clamp(chance.LogNormal(options.output_median, kAnswerSpread), 1, kLongestAnswer);

    // A hash block is shared only where all its tokens are: the earlier prompt's last one is not.
    const int64_t blocks = CeilDiv(request.input_length, kHashBlockTokens);
    const int64_t whole = request.input_length / kHashBlockTokens;
    const int64_t shared =
        follows ? std::min<int64_t>(earlier.input_length / kHashBlockTokens, whole) : 0;
    for (int64_t block = 0; block < blocks; ++block) {
      request.hash_ids.push_back(block < shared            ? earlier.hash_ids[block]
                                 : block == 0 && whole > 0 ? 0
                                                           : next_id++);
    }
  }
  return requests;
}

}  // namespace terrace::tools
