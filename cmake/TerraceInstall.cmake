# Installs headers, library, program and the package files of find_package(terrace).

include(CMakePackageConfigHelpers)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/terrace")

install(TARGETS terrace EXPORT terraceTargets FILE_SET HEADERS)
if(TARGET terrace_cli)
  install(TARGETS terrace_cli)
endif()
install(EXPORT terraceTargets NAMESPACE terrace:: DESTINATION "${package_dir}")

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/terraceConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/terraceConfig.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/terraceConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/terraceConfig.cmake"
  "${PROJECT_BINARY_DIR}/terraceConfigVersion.cmake"
  "${CMAKE_CURRENT_LIST_DIR}/FindxxHash.cmake"
  DESTINATION "${package_dir}")
