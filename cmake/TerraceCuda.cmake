# Decides whether the CUDA backend is built, sets TERRACE_HAS_CUDA, and adds the options of .cu files
# to terrace_flags.

set(TERRACE_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO (iff nvcc is found), ON, OFF")
set_property(CACHE TERRACE_CUDA PROPERTY STRINGS AUTO ON OFF)
set(TERRACE_CUDA_ARCHITECTURES "80;90a;100a;120a" CACHE STRING "GPU architectures to compile for")

set(TERRACE_HAS_CUDA OFF)
if(NOT TERRACE_CUDA STREQUAL "OFF")
  # An nvcc that is installed but not on PATH is found where the toolkit puts it.
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(TERRACE_NVCC nvcc HINTS ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    mark_as_advanced(TERRACE_NVCC)
    if(TERRACE_NVCC)
      set(ENV{CUDACXX} "${TERRACE_NVCC}")
    endif()
  endif()
  include(CheckLanguage)
  check_language(CUDA)  # an nvcc that compiles nothing counts as none
  if(CMAKE_CUDA_COMPILER)
    set(TERRACE_HAS_CUDA ON)
  elseif(TERRACE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "TERRACE_CUDA=ON but no nvcc that works was found. Install the CUDA toolkit "
      "and put nvcc on PATH, or configure with -DTERRACE_CUDA=OFF for the host backend alone.")
  endif()
endif()

if(TERRACE_HAS_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES "${TERRACE_CUDA_ARCHITECTURES}")
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  message(STATUS "Terrace: host and CUDA backends, architectures ${TERRACE_CUDA_ARCHITECTURES}")

  # -std by hand: CMake before 3.26 does not know C++20 for nvcc and falls back silently. The
  # toolkit's own headers are system headers, so that warnings as errors are about ours alone.
  # Neither --use_fast_math nor a global --fmad=false: where bits matter kernels say __fmul_rn.
  set(toolkit_includes ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  list(TRANSFORM toolkit_includes PREPEND "-isystem=")
  target_compile_options(terrace_flags INTERFACE
    "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-ffp-contract=off;${toolkit_includes}>")
else()
  message(STATUS "Terrace: host backend only")
endif()
