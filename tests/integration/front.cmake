# The real front between a fake roomkeyd, fake tenants and real OpenSSL clients.
pkg_check_modules(SSL REQUIRED IMPORTED_TARGET libssl)
add_library(front_rig STATIC front_rig.c front_keys.c front_peer.c)
target_compile_definitions(front_rig PRIVATE ROOMKEY_FRONT="$<TARGET_FILE:roomkey-front>")
target_link_libraries(front_rig PRIVATE roomkey_warnings
                      PUBLIC memory_search roomkey_host roomkey_record_host PkgConfig::SSL PkgConfig::CRYPTO
                             PkgConfig::CMOCKA)
add_dependencies(front_rig roomkey-front)

foreach(test test_front test_front_agent test_front_relay test_front_house test_front_leaving
             test_front_liars)
    roomkey_test(${test} SOURCES ${test}.c LIBRARIES front_rig)
    set_tests_properties(${test} PROPERTIES LABELS integration)
endforeach()
