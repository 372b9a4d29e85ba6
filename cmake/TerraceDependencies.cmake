# What Terrace needs, all of it already installed: nothing is fetched at configure time. A missing
# package is an error that names the Debian package to install.

list(APPEND CMAKE_MODULE_PATH "${CMAKE_CURRENT_LIST_DIR}")

macro(terrace_require package debian_package)
  find_package(${package} QUIET ${ARGN})
  if(NOT ${package}_FOUND)
    message(FATAL_ERROR "${package} was not found. On Debian or Ubuntu: apt-get install "
      "${debian_package} (scripts/install_deps.sh installs everything). Elsewhere: install it and "
      "name its prefix in CMAKE_PREFIX_PATH.")
  endif()
endmacro()

terrace_require(Threads libc6-dev)
terrace_require(absl libabsl-dev CONFIG)
terrace_require(xxHash libxxhash-dev)
terrace_require(Boost libboost-dev)  # headers only, and in private headers only
if(TERRACE_BUILD_CLI)
  terrace_require(CLI11 libcli11-dev CONFIG)
  terrace_require(nlohmann_json nlohmann-json3-dev CONFIG)
endif()
if(TERRACE_BUILD_TESTS)
  terrace_require(GTest "libgtest-dev libgmock-dev" CONFIG)
endif()
if(TERRACE_BUILD_BENCH)
  terrace_require(benchmark libbenchmark-dev CONFIG)
endif()
