#include "python/src/words.h"

#include "python/src/errors.h"
#include "python/src/numbers.h"

namespace terrace::python {
namespace {

template <typename Enum>
struct Word {
  const char* word;
  Enum value;
};

constexpr Word<PoolKind> kKinds[] = {{"window", PoolKind::kWindow},
                                     {"full", PoolKind::kFull},
                                     {"overlap", PoolKind::kOverlap},
                                     {"state", PoolKind::kState}};
constexpr Word<PlaneKind> kPlanes[] = {{"latent", PlaneKind::kLatent},
                                       {"indexer", PlaneKind::kIndexer}};
constexpr Word<EntryRule> kRules[] = {{"pooled", EntryRule::kPooled},
                                      {"strided", EntryRule::kStrided}};
constexpr Word<PoolLayout> kLayouts[] = {{"block-major", PoolLayout::kBlockMajor},
                                         {"layer-major", PoolLayout::kLayerMajor}};
constexpr Word<Priority> kPriorities[] = {
    {"low", Priority::kLow}, {"normal", Priority::kNormal}, {"high", Priority::kHigh}};
constexpr Word<MatchPolicy> kMatchPolicies[] = {{"appended", MatchPolicy::kAppended},
                                                {"retired", MatchPolicy::kRetired}};
constexpr Word<BackendKind> kBackends[] = {
    {"auto", BackendKind::kAuto}, {"host", BackendKind::kHost}, {"cuda", BackendKind::kCuda}};
constexpr Word<FreeReason> kFreeReasons[] = {{"finished", FreeReason::kFinished},
                                             {"preempted", FreeReason::kPreempted},
                                             {"cancelled", FreeReason::kCancelled}};

template <typename Enum, size_t n>
Enum ValueOf(const Word<Enum> (&words)[n], nb::handle text, const char* what) {
  if (PyUnicode_Check(text.ptr())) {
    for (const Word<Enum>& known : words) {
      if (PyUnicode_CompareWithASCIIString(text.ptr(), known.word) == 0) return known.value;
    }
  }
  std::string known;
  for (const Word<Enum>& word : words) {
    absl::StrAppend(&known, known.empty() ? "" : ", ", "\"", word.word, "\"");
  }
  RaiseInvalid(what, " is ", nb::cast<std::string>(nb::repr(text)), ", not one of ", known);
}

template <typename Enum, size_t n>
const char* WordIn(const Word<Enum> (&words)[n], Enum value) {
  for (const Word<Enum>& known : words) {
    if (known.value == value) return known.word;
  }
  return "unknown";
}

}  // namespace

PoolKind PoolKindOf(nb::handle word) { return ValueOf(kKinds, word, "the kind of pool"); }
PlaneKind PlaneKindOf(nb::handle word) { return ValueOf(kPlanes, word, "the plane"); }
EntryRule EntryRuleOf(nb::handle word) { return ValueOf(kRules, word, "the rule"); }
PoolLayout PoolLayoutOf(nb::handle word) { return ValueOf(kLayouts, word, "the layout"); }
FreeReason FreeReasonOf(nb::handle word) { return ValueOf(kFreeReasons, word, "the reason"); }
Priority PriorityOf(nb::handle word) { return ValueOf(kPriorities, word, "the priority"); }
MatchPolicy MatchPolicyOf(nb::handle word) { return ValueOf(kMatchPolicies, word, "match"); }
BackendKind BackendKindOf(nb::handle word) { return ValueOf(kBackends, word, "the backend"); }

RowFormat RowFormatOf(nb::handle word) {
  std::string name;
  if (!nb::try_cast(word, name)) {
    RaiseInvalid("the format is ", nb::cast<std::string>(nb::repr(word)), ", not a name");
  }
  return Take(ParseRowFormat(name));
}

CheckpointPolicy CheckpointPolicyOf(nb::handle value) {
  if (PyLong_Check(value.ptr()) && !PyBool_Check(value.ptr())) {
    return CheckpointPolicy::EveryTokens(WholeNumber<int32_t>(value, "checkpoints"));
  }
  if (PyUnicode_Check(value.ptr())) {
    if (PyUnicode_CompareWithASCIIString(value.ptr(), "none") == 0) return CheckpointPolicy::None();
    if (PyUnicode_CompareWithASCIIString(value.ptr(), "end") == 0) {
      return CheckpointPolicy::EndOfPromptAndOutput();
    }
  }
  RaiseInvalid("checkpoints is ", nb::cast<std::string>(nb::repr(value)),
               ", not \"none\", \"end\" or a number of tokens");
}

const char* WordOf(PoolKind kind) { return WordIn(kKinds, kind); }
const char* WordOf(EntryRule rule) { return WordIn(kRules, rule); }
const char* WordOf(PoolLayout layout) { return WordIn(kLayouts, layout); }
const char* WordOf(Priority priority) { return WordIn(kPriorities, priority); }
const char* WordOf(MatchPolicy policy) { return WordIn(kMatchPolicies, policy); }
std::string WordOf(RowFormat format) { return std::string(RowFormatName(format)); }

nb::object WordOf(const CheckpointPolicy& policy) {
  switch (policy.kind) {
    case CheckpointPolicy::Kind::kNone:
      return nb::str("none");
    case CheckpointPolicy::Kind::kEveryTokens:
      return nb::int_(policy.tokens);
    default:
      return nb::str("end");
  }
}

}  // namespace terrace::python
