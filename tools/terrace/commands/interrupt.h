// Interrupt notes Ctrl-C while it lives, so that a long run can end early and say what it found.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_INTERRUPT_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_INTERRUPT_H_

#include <csignal>

namespace terrace::tools {

// The first SIGINT is noted; the next one ends the process as ever. Where SIGINT is ignored, as
// under nohup, it stays so. At most one of them lives at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Whether SIGINT came since this object was made.
  bool noted() const;

 private:
  struct sigaction before_ = {};
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_INTERRUPT_H_
