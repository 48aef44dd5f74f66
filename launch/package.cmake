# cmake --install and a Debian package (cpack in the build folder): the program, its man page, completion for bash
# and zsh made from its own tables, configurations, documentation. Libraries for GPUs, where they were built, are a
# package of their own, dye-cuda: dye itself needs nothing of CUDA's.
include(GNUInstallDirs)
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME dye)
set(manual ${CMAKE_BINARY_DIR}/manual)
add_custom_command(OUTPUT ${manual}/dye.1 ${manual}/dye ${manual}/_dye
  COMMAND ${CMAKE_COMMAND} -E make_directory ${manual}
  COMMAND dye help man > ${manual}/dye.1
  COMMAND dye help bash > ${manual}/dye
  COMMAND dye help zsh > ${manual}/_dye
  DEPENDS dye VERBATIM)
add_custom_target(manual ALL DEPENDS ${manual}/dye.1)

install(TARGETS dye RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${manual}/dye.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${manual}/dye DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${manual}/_dye DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/dye)
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/dye)
install(FILES README.md ARCHITECTURE.md CHANGELOG.md LICENSE
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/dye)

set(CPACK_COMPONENTS_ALL dye)
# Beside bin/, where model/backend.c looks. They keep the folders to find cuBLASLt and NCCL in; the toolkit's must be
# named, since CMake takes it for one that the system searches.
foreach(library dye_cuda dye_nccl)
  if(TARGET ${library})
    set_target_properties(${library} PROPERTIES BUILD_RPATH ${CUDAToolkit_LIBRARY_DIR}
                          INSTALL_RPATH ${CUDAToolkit_LIBRARY_DIR} INSTALL_RPATH_USE_LINK_PATH ON)
    install(TARGETS ${library} LIBRARY DESTINATION lib/dye COMPONENT cuda OPTIONAL)
    set(CPACK_COMPONENTS_ALL dye cuda)
  endif()
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME dye)
set(CPACK_PACKAGE_CONTACT "the authors of Dye")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "diffusion training, the same bits on any number of ranks")
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_DYE_PACKAGE_NAME dye)
set(CPACK_DEBIAN_DYE_FILE_NAME dye_${PROJECT_VERSION}_${CMAKE_SYSTEM_PROCESSOR}.deb)
set(CPACK_DEBIAN_DYE_PACKAGE_DEPENDS openmpi-bin) # mpirun; libraries are found by dpkg-shlibdeps
set(CPACK_DEBIAN_DYE_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_DYE_PACKAGE_SUGGESTS dye-cuda)
# The driver, cuBLASLt and NCCL seldom come from packages of Debian: dye says what is missing.
set(CPACK_DEBIAN_CUDA_PACKAGE_NAME dye-cuda)
set(CPACK_DEBIAN_CUDA_FILE_NAME dye-cuda_${PROJECT_VERSION}_${CMAKE_SYSTEM_PROCESSOR}.deb)
set(CPACK_DEBIAN_CUDA_PACKAGE_DEPENDS "dye (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_CUDA_PACKAGE_SHLIBDEPS OFF)
set(CPACK_COMPONENT_CUDA_DESCRIPTION "the backend for NVIDIA's GPUs; wants cuBLASLt, and NCCL for several of them")
include(CPack)
