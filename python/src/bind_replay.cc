#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "python/src/bind.h"
#include "python/src/errors.h"
#include "tools/terrace/commands/program.h"
#include "tools/terrace/commands/replay_options.h"
#include "tools/terrace/commands/run_replay.h"
#include "tools/terrace/report/report.h"

namespace terrace::python {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;
using tools::SchedulerStats;

// Figures over simulated time, in a bounded number of points: when all are taken every other one
// goes, and points are taken half as often.
class Series {
 public:
  void Add(const SchedulerStats& stats) {
    if (++seen_ % every_ != 0) return;
    if (points_.size() == kMostPoints) {
      for (size_t i = 0; i < kMostPoints / 2; ++i) points_[i] = points_[2 * i + 1];
      points_.resize(kMostPoints / 2);
      every_ *= 2;
    }
    points_.push_back(stats);
  }

  Json ToJson() const {
    Json json;
    const auto add = [&](const char* name, auto SchedulerStats::*member) {
      Json values = Json::array();
      for (const SchedulerStats& point : points_) values.push_back(point.*member);
      json[name] = std::move(values);
    };
    add("seconds", &SchedulerStats::simulated_seconds);
    add("steps", &SchedulerStats::steps);
    add("completed", &SchedulerStats::completed);
    add("prompt_tokens", &SchedulerStats::prompt_tokens);
    add("matched_tokens", &SchedulerStats::matched_tokens);
    add("decode_tokens", &SchedulerStats::decode_tokens);
    add("ledger_decode_ns", &SchedulerStats::ledger_decode_ns);
    add("decode_sequence_steps", &SchedulerStats::decode_sequence_steps);
    add("ledger_prefill_ns", &SchedulerStats::ledger_prefill_ns);
    add("prefill_tokens", &SchedulerStats::prefill_tokens);
    return json;
  }

 private:
  static constexpr size_t kMostPoints = 1024;
  int64_t seen_ = 0;
  int64_t every_ = 1;
  std::vector<SchedulerStats> points_;
};

Json OccupancyJson(const tools::ReplayResult& result) {
  Json json;
  Json seconds = Json::array();
  for (const auto& point : result.occupancy.points()) seconds.push_back(point.seconds);
  json["seconds"] = std::move(seconds);
  for (size_t p = 0; p < result.capacity.pools.size(); ++p) {
    Json live = Json::array();
    for (const auto& point : result.occupancy.points()) live.push_back(point.live[p]);
    json["live_blocks"][result.capacity.pools[p].name] = std::move(live);
  }
  return json;
}

tools::ReplayArguments Parse(std::vector<std::string> words) {
  tools::ReplayArguments arguments;
  CLI::App app("replay");
  tools::AddReplayOptions(app, &arguments);
  std::string problem;
  try {
    std::reverse(words.begin(), words.end());  // as CLI11 takes them
    app.parse(words);
    tools::CheckReplayOptions(app);
  } catch (const CLI::ParseError& error) {
    problem = error.what();
  }
  if (!problem.empty()) RaiseInvalid(problem);
  return arguments;
}

// The JSON of a replay. `on_step(requests done, all, tokens done, all)` is called a few times a
// second; what it raises, and Ctrl-C, end the replay.
std::string Replay(const std::vector<std::string>& words, nb::handle on_step) {
  tools::ReplayArguments arguments = Parse(words);
  const std::vector<tools::TraceRequest> requests = Take(tools::PrepareReplay(&arguments));
  int64_t tokens = 0;
  for (const tools::TraceRequest& request : requests) {
    tokens += int64_t{request.input_length} + request.output_length;
  }
  Series series;
  Clock::time_point next = Clock::now();
  arguments.replay.on_step = [&](const SchedulerStats& stats) {
    series.Add(stats);
    if (Clock::now() < next && stats.completed + stats.failed < stats.requests) return;
    next = Clock::now() + std::chrono::milliseconds(100);
    const nb::gil_scoped_acquire acquired;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (on_step.is_none()) return;
    on_step(stats.completed + stats.failed, static_cast<int64_t>(requests.size()),
            stats.prompt_tokens + stats.decode_tokens, tokens);
  };
  absl::StatusOr<tools::ReplayResult> result = [&] {
    const nb::gil_scoped_release released;
    return tools::Replay(requests, arguments.replay);
  }();
  if (!result.ok()) Raise(result.status());
  Json json = tools::ReplayJson(*result);
  const absl::Status judged = tools::JudgeReplay(*result);
  json["ok"] = judged.ok();
  json["problem"] = std::string(judged.message());
  json["corrupt"] = result->verifier.first_corrupt;
  json["occupancy"] = OccupancyJson(*result);
  json["series"] = series.ToJson();
  return json.dump();
}

int RunProgram(const std::vector<std::string>& words) {
  std::vector<const char*> arguments;
  for (const std::string& word : words) arguments.push_back(word.c_str());
  const nb::gil_scoped_release released;
  return tools::RunProgram(static_cast<int>(arguments.size()), arguments.data(),
                           TERRACE_VERSION_TEXT);
}

}  // namespace

void BindReplay(nb::module_& module) {
  module.def(
      "run_program", &RunProgram, "arguments"_a,
      "The program `terrace` with these arguments, its own name first. Gives the exit code.");
  module.def(
      "run_replay", &Replay, "arguments"_a, "on_step"_a.none() = nb::none(),
      nb::sig("def run_replay(arguments: Sequence[str], on_step: Callable[[int, int, int, int], "
              "object] | None = None) -> str"),
      "The JSON of `terrace replay` with these arguments, and series over time.");
}

}  // namespace terrace::python
