// How wide a terminal is.

#ifndef TERRACE_TOOLS_TERRACE_REPORT_TERMINAL_H_
#define TERRACE_TOOLS_TERRACE_REPORT_TERMINAL_H_

namespace terrace::tools {

// Columns of the terminal that `fd` is, as they are now: the window may have been resized. A
// terminal that does not know has $COLUMNS, or 80. 0 where `fd` is no terminal.
int TerminalColumns(int fd);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_REPORT_TERMINAL_H_
