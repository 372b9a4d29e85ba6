#include "tools/terrace/commands/program.h"

int main(int argc, char** argv) { return terrace::RunProgram(argc, argv, TERRACE_VERSION); }
