#include "tools/terrace/commands/program.h"

int main(int argc, char** argv) { return terrace::tools::RunProgram(argc, argv, TERRACE_VERSION); }
