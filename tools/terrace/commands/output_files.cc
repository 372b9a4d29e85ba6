#include "tools/terrace/commands/output_files.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"

namespace terrace::tools {
namespace {

namespace fs = std::filesystem;

bool IsFile(const NamedFile& file) { return !file.path.empty() && file.path != "-"; }

absl::Status CheckWritable(const NamedFile& output) {
  const auto cannot = [&output](const std::string& why) {
    return absl::UnavailableError(
        absl::StrCat(output.option, ": cannot write ", output.path, ": ", why));
  };
  std::error_code error;
  const fs::path path = output.path;
  if (fs::is_directory(path, error)) return cannot("it is a folder");
  if (fs::exists(path, error)) {
    return access(path.c_str(), W_OK) == 0 ? absl::OkStatus() : cannot(std::strerror(errno));
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (!path.has_filename()) return cannot("it names no file");
  if (!fs::is_directory(folder, error)) {
    return cannot(absl::StrCat("there is no folder ", folder.string()));
  }
  if (access(folder.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return cannot(absl::StrCat(folder.string(), ": ", std::strerror(errno)));
}

// Devices such as /dev/null can be written by two.
bool SameFile(const NamedFile& a, const NamedFile& b) {
  if (!IsFile(a) || !IsFile(b)) return false;
  std::error_code error;
  if (fs::exists(a.path, error) && fs::exists(b.path, error)) {
    return fs::is_regular_file(a.path, error) && fs::equivalent(a.path, b.path, error);
  }
  const fs::path first = fs::weakly_canonical(fs::absolute(a.path, error), error);
  return !first.empty() && first == fs::weakly_canonical(fs::absolute(b.path, error), error);
}

}  // namespace

absl::Status CheckOutputs(absl::Span<const NamedFile> outputs, absl::Span<const NamedFile> inputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto check = [&output = outputs[i]](const NamedFile& other) {
      if (!SameFile(output, other)) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat(output.option, ": ", output.path, " is the file of ", other.option, " too"));
    };
    for (size_t j = 0; j < i; ++j) TERRACE_RETURN_IF_ERROR(check(outputs[j]));
    for (const NamedFile& input : inputs) TERRACE_RETURN_IF_ERROR(check(input));
    if (IsFile(outputs[i])) TERRACE_RETURN_IF_ERROR(CheckWritable(outputs[i]));
  }
  return absl::OkStatus();
}

}  // namespace terrace::tools
