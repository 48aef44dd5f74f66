# cmake --install and a Debian package (cpack in the build folder): the program, its man page, completion for bash
# and zsh made from its own tables, configurations, documentation.
include(GNUInstallDirs)
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

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME dye)
set(CPACK_PACKAGE_CONTACT "the authors of Dye")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "diffusion training, the same bits on any number of ranks")
set(CPACK_PACKAGE_FILE_NAME dye_${PROJECT_VERSION}_${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_DEPENDS openmpi-bin) # mpirun; libraries are found by dpkg-shlibdeps
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
include(CPack)
