# Includes go one way (src/README.md), and the reader that says so finds planted faults.

if(TERRACE_SANITIZE)
  return()  # no code of ours runs here
endif()
find_package(Python3 QUIET COMPONENTS Interpreter)
foreach(name IncludesGoOneWay PlantedFaultsAreFound)
  set(test Layers.${name})
  if(Python3_Interpreter_FOUND)
    set(arguments --root "${PROJECT_SOURCE_DIR}")
    if(name STREQUAL "PlantedFaultsAreFound")
      set(arguments --self-test)
    endif()
    add_test(NAME ${test} COMMAND "${Python3_EXECUTABLE}"
      "${PROJECT_SOURCE_DIR}/scripts/check_layers.py" ${arguments})
  else()
    add_test(NAME ${test} COMMAND "${CMAKE_COMMAND}" -E echo "SKIPPED: python3 is not installed")
    set_tests_properties(${test} PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED")
  endif()
  set_tests_properties(${test} PROPERTIES LABELS cpu)
endforeach()
