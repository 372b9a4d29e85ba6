#include "tools/terrace/commands/outcome.h"

#include <fstream>
#include <iostream>

#include "absl/strings/str_cat.h"

namespace terrace::tools {

absl::Status WriteJson(const nlohmann::ordered_json& json, const std::string& name) {
  const std::string text = json.dump(2);
  if (name == "-") {
    std::cout << text << std::endl;
    return std::cout ? absl::OkStatus() : absl::UnavailableError("cannot write to standard output");
  }
  std::ofstream file(name, std::ios::binary);
  file << text << std::endl;
  if (file) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("cannot write ", name, "; check the folder and its rights"));
}

int ExitCode(const std::string& command, const absl::Status& status) {
  if (status.ok()) return 0;
  std::cerr << "terrace " << command << ": " << std::string(status.message()) << std::endl;
  if (absl::IsCancelled(status)) return 130;
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status) ? 2 : 1;
}

}  // namespace terrace::tools
