#include "tools/terrace/commands/interrupt.h"

namespace terrace::tools {
namespace {

volatile std::sig_atomic_t came = 0;

void Note(int /*signal*/) { came = 1; }

}  // namespace

Interrupt::Interrupt() {
  came = 0;
  sigaction(SIGINT, nullptr, &before_);
  if (before_.sa_handler == SIG_IGN) return;
  struct sigaction action = {};
  action.sa_handler = &Note;
  // Reads and writes go on. The second signal finds the default: it ends the process.
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
}

Interrupt::~Interrupt() { sigaction(SIGINT, &before_, nullptr); }

bool Interrupt::noted() const { return came != 0; }

}  // namespace terrace::tools
