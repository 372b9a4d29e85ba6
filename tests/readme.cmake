# Compiles and runs the example of README.md: its first ```cpp block.

set(readme "${PROJECT_SOURCE_DIR}/README.md")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${readme}")
file(READ "${readme}" text)
string(FIND "${text}" "```cpp\n" begin)
if(begin EQUAL -1)
  message(FATAL_ERROR "README.md has no cpp example")
endif()
math(EXPR begin "${begin} + 7")
string(SUBSTRING "${text}" ${begin} -1 text)
string(FIND "${text}" "```" end)
string(SUBSTRING "${text}" 0 ${end} text)
file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/readme_example.cc" CONTENT "${text}" @ONLY)

add_executable(readme_example "${CMAKE_CURRENT_BINARY_DIR}/readme_example.cc")
target_link_libraries(readme_example PRIVATE terrace terrace_flags)
add_test(NAME Readme.TheExampleRuns COMMAND readme_example)
set_tests_properties(Readme.TheExampleRuns PROPERTIES LABELS cpu)
