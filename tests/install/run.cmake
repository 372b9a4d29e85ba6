# Installs a build to a fresh prefix, then configures, builds and runs the outside project there, with
# copies of the examples: what they include is installed or their own.
# Needs: BUILD_DIR, CONFIG, CXX_COMPILER, GENERATOR, WORK_DIR.

function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE "${WORK_DIR}")
run("${CMAKE_COMMAND}" --install "${BUILD_DIR}" --config "${CONFIG}" --prefix "${WORK_DIR}/prefix")
file(GLOB private "${WORK_DIR}/prefix/include/terrace/*_builder.h" "${WORK_DIR}/prefix/include/src")
if(private OR NOT EXISTS "${WORK_DIR}/prefix/include/terrace/formats/row_codec.h")
  message(FATAL_ERROR "installed headers are not the public ones: ${private}")
endif()
file(COPY "${CMAKE_CURRENT_LIST_DIR}/../../examples" DESTINATION "${WORK_DIR}/source")
run("${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}" -B "${WORK_DIR}/build" -G "${GENERATOR}"
  "-DCMAKE_BUILD_TYPE=${CONFIG}" "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}"
  "-DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix" "-DEXAMPLES=${WORK_DIR}/source")
run("${CMAKE_COMMAND}" --build "${WORK_DIR}/build" --config "${CONFIG}")
run("${WORK_DIR}/build/terrace_user")
run("${WORK_DIR}/build/codec_user")
