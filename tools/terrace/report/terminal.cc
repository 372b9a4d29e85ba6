#include "tools/terrace/report/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/numbers.h"

namespace terrace::tools {

int TerminalColumns(int fd) {
  constexpr int kUsual = 80;
  if (isatty(fd) == 0) return 0;
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* const variable = std::getenv("COLUMNS");
  int columns = 0;
  return variable != nullptr && absl::SimpleAtoi(variable, &columns) && columns > 0 ? columns
                                                                                    : kUsual;
}

}  // namespace terrace::tools
