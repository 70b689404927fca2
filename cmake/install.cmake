# `cmake --install build/release`: the tree that packaging/ and the documents speak of.
# Programs that start one another lie in one folder, and roomkey-cc finds what it links with in
# ../lib/roomkey. Nothing below /etc is written: an operator's settings are the operator's.
include(GNUInstallDirs)

set(programs roomkey roomkeyd roomkey-front roomkey-keyimport roomkey-xen)
install(TARGETS ${programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

if(ROOMKEY_IMAGES)
    install(PROGRAMS "${ROOMKEY_CC}" DESTINATION ${CMAKE_INSTALL_BINDIR})
    install(DIRECTORY "${ROOMKEY_SDK_DIR}" DESTINATION lib)
    install(FILES "${ROOMKEY_IMAGE_DIR}/hello-1.0.0.img" "${ROOMKEY_IMAGE_DIR}/hello-2.0.0.img"
            DESTINATION ${CMAKE_INSTALL_DATADIR}/roomkey/images)
endif()

install(FILES packaging/systemd/roomkeyd.service packaging/systemd/roomkey-front.service
        DESTINATION lib/systemd/system)
install(FILES packaging/systemd/roomkey.sysusers DESTINATION lib/sysusers.d RENAME roomkey.conf)
install(FILES packaging/completion/roomkey.bash
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME roomkey)
install(FILES README.md CHANGELOG.md packaging/roomkey.toml DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR})
