// A pseudo terminal of some columns, and a program that writes to it.

#ifndef TERRACE_TESTS_TOOLS_PSEUDO_TERMINAL_H_
#define TERRACE_TESTS_TOOLS_PSEUDO_TERMINAL_H_

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace terrace::testing {

// The furthest column that `written` reaches on a terminal, from 1.
inline int WidestColumn(const std::string& written) {
  int column = 0;
  int widest = 0;
  for (size_t i = 0; i < written.size(); ++i) {
    if (written.compare(i, 3, "\x1b[K") == 0) {
      i += 2;
    } else if (written[i] == '\r' || written[i] == '\n') {
      column = 0;
    } else {
      widest = std::max(widest, ++column);
    }
  }
  return widest;
}

class PseudoTerminal {
 public:
  explicit PseudoTerminal(int columns) : master_(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    EXPECT_GE(master_, 0);
    EXPECT_EQ(grantpt(master_) + unlockpt(master_), 0);
    Resize(columns);
  }
  ~PseudoTerminal() { close(master_); }
  PseudoTerminal(const PseudoTerminal&) = delete;
  PseudoTerminal& operator=(const PseudoTerminal&) = delete;

  void Resize(int columns) const {
    winsize size{};
    size.ws_row = 24;
    size.ws_col = static_cast<unsigned short>(columns);  // NOLINT(google-runtime-int): its type
    EXPECT_EQ(ioctl(master_, TIOCSWINSZ, &size), 0);
  }
  std::string path() const { return ptsname(master_); }

  // Starts `words` with the descriptors `outputs` on this terminal. SIGINT has its default action.
  void Start(std::vector<std::string> words, const std::vector<int>& outputs) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
      const bool here = std::find(outputs.begin(), outputs.end(), fd) != outputs.end();
      posix_spawn_file_actions_addopen(&actions, fd, here ? path().c_str() : "/dev/null",
                                       O_WRONLY | O_NOCTTY, 0);
    }
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    posix_spawnattr_setsigdefault(&attributes, &interrupt);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&child_, arguments[0], &actions, &attributes, arguments.data(), environ),
              0);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }

  // Reads until `wanted` came or the program ended; all that was read.
  std::string ReadUntil(const std::string& wanted) {
    char buffer[4096];
    while (wanted.empty() || read_.find(wanted) == std::string::npos) {
      const ssize_t count = read(master_, buffer, sizeof(buffer));
      if (count <= 0) break;  // EIO: nobody has the terminal open any more
      read_.append(buffer, static_cast<size_t>(count));
    }
    return read_;
  }
  void Signal(int signal) const { kill(child_, signal); }
  // The program's exit code, or -1 if it was ended by a signal.
  int Join() {
    ReadUntil("");
    int status = 0;
    EXPECT_EQ(waitpid(child_, &status, 0), child_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  int master_;
  pid_t child_ = 0;
  std::string read_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_PSEUDO_TERMINAL_H_
