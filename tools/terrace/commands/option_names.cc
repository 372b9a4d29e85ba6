#include "tools/terrace/commands/option_names.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace terrace::tools {
namespace {

struct Name {
  absl::string_view field;
  absl::string_view option;
};

constexpr Name kNames[] = {
    {"max_sequences", "--sequences"},
    {"max_step_tokens", "--step-tokens"},
    {"max_drafts", "--drafts"},
    {"max_context_tokens", "--context"},
    {"store_whole_chunk", "--whole-chunk"},
    {"prefill_sequences", "--prefill-sequences"},
    {"in_flight_plans", "--in-flight"},
    {"memory_bytes", "--memory"},
    {"swa_block_tokens", "--swa-block"},
};

absl::string_view OptionOf(absl::string_view word) {
  for (const Name& name : kNames) {
    if (name.field == word) return name.option;
  }
  return word;
}

}  // namespace

std::string WithOptionNames(absl::string_view text) {
  std::string named;
  while (!text.empty()) {
    size_t length = 0;
    while (length < text.size() && (absl::ascii_isalnum(text[length]) || text[length] == '_')) {
      ++length;
    }
    if (length == 0) {
      named += text.front();
      text.remove_prefix(1);
      continue;
    }
    absl::StrAppend(&named, OptionOf(text.substr(0, length)));
    text.remove_prefix(length);
  }
  return named;
}

absl::Status NameOptions(const absl::Status& status) {
  if (status.ok()) return status;
  const bool memory = absl::IsOutOfRange(status);
  return {status.code(),
          absl::StrCat(memory ? "--memory: " : "", WithOptionNames(status.message()))};
}

}  // namespace terrace::tools
