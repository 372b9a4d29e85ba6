# terrace_headers_alone: compiles every header on its own, twice included, so that each carries what
# it needs and its guard works. A .cuh is included by a generated .cu (CMake's own header check skips
# it). Compiling is the test.

file(GLOB_RECURSE headers RELATIVE "${PROJECT_SOURCE_DIR}" CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/include/terrace/*.h"
  "${PROJECT_SOURCE_DIR}/src/*.h")
if(TERRACE_BUILD_CLI)
  file(GLOB_RECURSE more RELATIVE "${PROJECT_SOURCE_DIR}" CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/tools/*.h")
  list(APPEND headers ${more})
endif()
if(TERRACE_HAS_CUDA)
  file(GLOB_RECURSE more RELATIVE "${PROJECT_SOURCE_DIR}" CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/kernels/*.h" "${PROJECT_SOURCE_DIR}/kernels/*.cuh")
  list(APPEND headers ${more})
else()
  list(FILTER headers EXCLUDE REGEX "backend/cuda/")
endif()

set(sources)
foreach(header IN LISTS headers)
  string(REGEX REPLACE "^include/" "" spelled "${header}")
  string(MAKE_C_IDENTIFIER "${header}" name)
  if(header MATCHES "\\.cuh$")
    set(source "${CMAKE_CURRENT_BINARY_DIR}/headers/${name}.cu")
  else()
    set(source "${CMAKE_CURRENT_BINARY_DIR}/headers/${name}.cc")
  endif()
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include \"${spelled}\"\n#include \"${spelled}\"\n" @ONLY)
  list(APPEND sources "${source}")
endforeach()

if(TERRACE_ONLY)
  return()
endif()
add_library(terrace_headers_alone OBJECT ${sources})
target_include_directories(terrace_headers_alone PRIVATE "${PROJECT_SOURCE_DIR}")
target_compile_options(terrace_headers_alone PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-O0>)
target_link_libraries(terrace_headers_alone PRIVATE terrace terrace_flags)
if(TERRACE_BUILD_CLI)
  target_link_libraries(terrace_headers_alone PRIVATE CLI11::CLI11 nlohmann_json::nlohmann_json)
endif()
if(TERRACE_HAS_CUDA)
  list(GET TERRACE_CUDA_ARCHITECTURES 0 one_architecture)
  set_target_properties(terrace_headers_alone PROPERTIES CUDA_ARCHITECTURES "${one_architecture}")
  target_link_libraries(terrace_headers_alone PRIVATE CUDA::cudart_static)
endif()
