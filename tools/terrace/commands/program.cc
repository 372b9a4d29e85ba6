#include "tools/terrace/commands/program.h"

#include <iostream>
#include <new>

#include "CLI/CLI.hpp"
#include "tools/terrace/commands/capacity_command.h"
#include "tools/terrace/commands/encode_command.h"
#include "tools/terrace/commands/replay_command.h"

namespace terrace::tools {
namespace {

constexpr char kExamples[] = R"(Examples:
  terrace capacity --model deepseek-v4-flash --memory 40GiB --sequences 64
  terrace replay --model deepseek-v4-flash --memory 40GiB
  terrace encode --format flashmla_v4 --align 576 kv.npy pages.npy
  terrace decode --format flashmla_v4 --align 576 pages.npy rows.npy
  terrace COMMAND --help)";

int Parse(CLI::App& app, int argc, const char* const* argv, const int& exit_code) {
  std::string usage_error;
  try {
    app.parse(argc, argv);
    if (!app.get_subcommands().empty()) return exit_code;
    usage_error = "say what to do: capacity, replay, encode or decode";
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version
    usage_error = error.what();
  }
  std::string command = "terrace";
  for (const CLI::App* chosen : app.get_subcommands()) command += " " + chosen->get_name();
  std::cerr << command << ": " << usage_error << "; see " << command << " --help" << std::endl;
  return 2;
}

}  // namespace

int RunProgram(int argc, const char* const* argv, const std::string& version) {
  int exit_code = 0;
  CLI::App app("Terrace owns the KV-cache memory of models with layered compressed attention.");
  app.name("terrace");
  app.footer(kExamples);
  app.set_version_flag("--version", "terrace " + version);
  app.require_subcommand(0, 1);
  AddCapacityCommand(app, &exit_code);
  AddReplayCommand(app, &exit_code);
  AddEncodeCommand(app, &exit_code);
  AddDecodeCommand(app, &exit_code);
  try {
    return Parse(app, argc, argv, exit_code);
  } catch (const std::bad_alloc&) {
    std::cerr << "terrace: out of memory; ask for less" << std::endl;
    return 1;
  }
}

}  // namespace terrace::tools
