// A fuzz target over the ledger's public calls: bytes become calls, mostly sensible ones, and what
// comes of them is looked at by a PrefixTrial (tests/prefix_trial.h): it must never crash, refuse
// what it should not, or show a sequence what is not its own.
//
// With clang this is a libFuzzer target. Elsewhere it has a main of its own:
//   ledger_fuzz                 runs random inputs
//   ledger_fuzz FILE...         runs files, such as libFuzzer leaves where it found a fault

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "src/model/geometry_builder.h"
#include "terrace/model.h"
#include "tests/model/prefix_trial.h"

namespace terrace {
namespace {

using internal::MakeGeometry;
using testing::kNumTexts;
using testing::PrefixInstruction;
using testing::PrefixModel;
using testing::PrefixSequence;
using testing::PrefixTrial;
using Kind = PrefixInstruction::Kind;

// Reads an input; beyond its end everything is 0.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool empty() const { return at_ >= size_; }
  int32_t Next() { return empty() ? 0 : data_[at_++]; }
  int32_t Below(int32_t limit) { return Next() % limit; }
  // 0 .. 1020: small numbers are as likely as large ones.
  int32_t Amount() {
    const int32_t byte = Next();
    return byte < 128 ? byte % 16 : (byte - 128) * 8;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

// Small deployments, so that borders and shortages are near.
LedgerOptions OptionsOf(Bytes& bytes) {
  LayeredModelOptions model;
  model.indexer_ratio = 0;
  model.chunk_tokens = bytes.Below(2) == 0 ? 128 : 256;
  model.swa_block_tokens = 16 << bytes.Below(4);
  model.overlap = bytes.Below(2) == 0;
  model.state = model.overlap && bytes.Below(2) == 0;
  const bool strided = bytes.Below(4) == 0;
  model.rule = strided ? EntryRule::kStrided : EntryRule::kPooled;
  model.ratios = strided ? std::vector<int32_t>{0, 1, 2} : std::vector<int32_t>{4, 128};
  const ModelSpec spec = *MakeModel(model);
  const Limits limits = {.max_sequences = 4,
                         .max_step_tokens = 600,
                         .max_drafts = bytes.Below(5),
                         .max_context_tokens = 1100,
                         .store_whole_chunk = bytes.Below(4) == 0};
  std::vector<int32_t> capacities(spec.pools.size(), 4 + bytes.Below(16));
  capacities[0] = 2 + bytes.Below(64);
  for (size_t p = 0; p < capacities.size(); ++p) {
    if (!HoldsRows(spec.pools[p].kind)) capacities[p] = 1 + bytes.Below(6);
  }
  LedgerOptions options{.geometry = *MakeGeometry(spec, limits, capacities),
                        .in_flight_plans = bytes.Below(3)};
  const CheckpointPolicy policies[] = {CheckpointPolicy::EndOfPromptAndOutput(),
                                       CheckpointPolicy::EveryTokens(256),
                                       CheckpointPolicy::None()};
  options.prefix.checkpoints = policies[bytes.Below(3)];
  return options;
}

class Decoder {
 public:
  Decoder(Bytes& bytes, const PrefixModel& model, const Geometry& geometry)
      : bytes_(bytes), model_(model), geometry_(geometry) {}

  PrefixInstruction Next() {
    constexpr Kind kKinds[] = {Kind::kAppend,   Kind::kAppend,   Kind::kAppend,   Kind::kAppend,
                               Kind::kAppend,   Kind::kCommit,   Kind::kCommit,   Kind::kCommit,
                               Kind::kAllocate, Kind::kAllocate, Kind::kTruncate, Kind::kFree,
                               Kind::kRetire,   Kind::kFork,     Kind::kExtend,   Kind::kProbe};
    const int32_t byte = bytes_.Next();
    PrefixInstruction in{.kind = kKinds[byte % 16]};
    in.inject = byte >= 224;
    if (byte == 255) return {.kind = Kind::kClear};
    if (byte == 253) {
      return {.kind = Kind::kAbandon,
              .number = static_cast<int64_t>(model_.last_plan()) - bytes_.Below(8)};
    }
    if (byte == 252) in.kind = Kind::kDistrust;
    if (byte == 254) return {.kind = Kind::kSetTime, .number = now_ms_ += bytes_.Amount()};
    switch (in.kind) {
      case Kind::kAppend:
        in.wrong = static_cast<uint32_t>(bytes_.Next());
        for (int32_t i = bytes_.Below(4); i > 0; --i) in.batch.push_back(Step());
        return in;
      case Kind::kAllocate:
      case Kind::kProbe:
        in.number = bytes_.Amount();
        in.variant = bytes_.Below(kNumTexts);
        Options(bytes_.Next(), &in);
        return in;
      case Kind::kRetire:
        in.number = static_cast<int64_t>(model_.last_plan()) - bytes_.Below(3);
        return in;
      default:
        break;
    }
    in.id = Handle();
    const PrefixSequence* const sequence = model_.Find(in.id);
    if (sequence == nullptr) return in;
    if (in.kind == Kind::kTruncate) in.number = sequence->length - bytes_.Below(6);
    if (in.kind == Kind::kDistrust) in.number = bytes_.Next() * sequence->length / 255;
    if (in.kind == Kind::kCommit) {
      const int32_t open = std::max(0, sequence->length - sequence->known) + 1;
      in.number = bytes_.Below(3) == 0 ? bytes_.Amount() : open;
    }
    return in;
  }

 private:
  // Mostly of a live sequence.
  SequenceId Handle() {
    const int32_t byte = bytes_.Next();
    if (byte >= 250 || model_.sequences().empty()) return {byte % 5 - 1, 1};
    const auto live = std::next(model_.sequences().begin(), byte % model_.sequences().size());
    return {live->first.first, live->first.second};
  }

  StepRequest Step() {
    const SequenceId id = Handle();
    const PrefixSequence* const sequence = model_.Find(id);
    int32_t tokens = bytes_.Amount();
    const int32_t drafts = bytes_.Below(8);
    if (sequence != nullptr && tokens == 0)
      tokens = sequence->known - sequence->length;  // the rest
    return {id, tokens, std::min(drafts, geometry_.max_drafts + 1)};
  }

  static void Options(int32_t byte, PrefixInstruction* in) {
    in->salt = byte % 4 == 0;
    in->ids_ahead = byte % 3 == 0;
    in->priority = static_cast<Priority>(byte / 4 % 3);
    if (byte % 5 == 0) in->refeed.max_tokens = byte * 2;
    if (byte % 7 == 0) in->refeed.approximate_tokens = 1 + byte;
    if (byte % 11 == 0) in->time_to_live_ms = 1 + byte;
  }

  Bytes& bytes_;
  const PrefixModel& model_;
  const Geometry& geometry_;
  int64_t now_ms_ = 0;
};

void RunInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  const LedgerOptions options = OptionsOf(bytes);
  PrefixTrial trial(options);
  Decoder decoder(bytes, trial.model(), options.geometry);
  std::string fault;
  while (fault.empty() && !bytes.empty()) fault = trial.Execute(decoder.Next());
  if (fault.empty()) fault = trial.Finish();
  if (fault.empty()) return;
  std::fprintf(stderr, "%s, after\n%s", fault.c_str(), trial.History().c_str());
  std::abort();
}

}  // namespace
}  // namespace terrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  terrace::RunInput(data, size);
  return 0;
}
