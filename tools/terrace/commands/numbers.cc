#include "tools/terrace/commands/numbers.h"

namespace terrace::tools {

CLI::Option* AddRealOption(CLI::App& command, const std::string& name, double* value, double least,
                           double most, const std::string& help) {
  const auto read = [name, value, least, most](const std::string& text) {
    double number = 0;
    // A NaN is in no range.
    if (!absl::SimpleAtod(text, &number) || !(number >= least && number <= most)) {
      throw CLI::ValidationError(
          name, absl::StrCat("\"", text, "\" is not a number from ", least, " to ", most));
    }
    *value = number;
  };
  return command.add_option_function<std::string>(name, read, help)
      ->type_name("X")
      ->default_str(absl::StrCat(*value));
}

}  // namespace terrace::tools
