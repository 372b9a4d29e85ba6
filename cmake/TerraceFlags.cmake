# terrace_flags: the compile options of Terrace's own files. Never exported to users.

set(TERRACE_SANITIZE "" CACHE STRING "Sanitizers of the whole build, e.g. address,undefined")

add_library(terrace_flags INTERFACE)
target_compile_features(terrace_flags INTERFACE cxx_std_20)
# -ffp-contract=off: no fused multiply-add, so that host, CUDA and golden vectors agree in every bit.
target_compile_options(terrace_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Werror;-ffp-contract=off>")
target_compile_definitions(terrace_flags INTERFACE TERRACE_NO_FP_CONTRACT=1)
if(TERRACE_SANITIZE)
  target_compile_options(terrace_flags INTERFACE
    -fsanitize=${TERRACE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_definitions(terrace_flags INTERFACE TERRACE_SANITIZED=1)
  target_link_options(terrace_flags INTERFACE -fsanitize=${TERRACE_SANITIZE})
endif()
