# The ground "sandbox", with real processes: needs root, and an image to start.
if(NOT ROOMKEY_IMAGES)
    return()
endif()

add_library(sandbox_house STATIC sandbox_house.c)
target_compile_definitions(sandbox_house PUBLIC SANDBOX_GUEST="$<TARGET_FILE:sandbox_guest>")
target_link_libraries(sandbox_house PRIVATE roomkey_warnings
                      PUBLIC roomkey_sandbox PkgConfig::CMOCKA)
add_dependencies(sandbox_house sandbox_guest)
roomkey_test(test_sandbox THREADS SOURCES test_sandbox.c LIBRARIES sandbox_house)
roomkey_test(test_sandbox_walls SOURCES test_sandbox_walls.c LIBRARIES sandbox_house)
roomkey_test(test_sandbox_adopt SOURCES test_sandbox_adopt.c LIBRARIES sandbox_house)
roomkey_test(test_sandbox_cgroup SOURCES test_sandbox_cgroup.c LIBRARIES roomkey_sandbox)
