# terrace_check_listed(folder extension files...): an error if the folder or one below it holds a file
# of that extension that is not among the files, so that nothing is left out of the build by accident.
function(terrace_check_listed folder extension)
  file(GLOB_RECURSE present RELATIVE "${folder}" CONFIGURE_DEPENDS "${folder}/*.${extension}")
  list(REMOVE_ITEM present ${ARGN})
  if(present)
    message(FATAL_ERROR "${folder}: in no list of CMakeLists.txt: ${present}")
  endif()
endfunction()
