# How our own code is compiled for the host, and the shapes of its tests.
#
# Sanitizer and hardening flags are set for every target of the build except those of image.cmake,
# which carry the property ROOMKEY_IMAGE.

add_library(roomkey_warnings INTERFACE)
target_compile_options(roomkey_warnings INTERFACE -Wall -Wextra -Wconversion -Wshadow -Werror)

# Own headers are included by their path in the repository: "common/core/rc.h".
include_directories("${PROJECT_SOURCE_DIR}")
add_compile_definitions(_GNU_SOURCE)

set(_host "$<NOT:$<BOOL:$<TARGET_PROPERTY:ROOMKEY_IMAGE>>>")
add_compile_options("$<${_host}:-fno-omit-frame-pointer>")
if(ROOMKEY_SANITIZE)
    add_compile_options("$<${_host}:-fsanitize=${ROOMKEY_SANITIZE}>"
                        "$<${_host}:-fno-sanitize-recover=all>")
    add_link_options("$<${_host}:-fsanitize=${ROOMKEY_SANITIZE}>")
else()
    set(_hard "$<AND:${_host},$<CONFIG:Release>>")
    add_compile_options("$<${_hard}:-fPIE>" "$<${_hard}:-fstack-protector-strong>"
                        "$<${_hard}:-fcf-protection>")
    add_compile_definitions("$<${_hard}:_FORTIFY_SOURCE=2>")
    add_link_options("$<${_hard}:-pie>" "$<${_hard}:LINKER:-z,relro,-z,now>")
endif()
if(ROOMKEY_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
        message(FATAL_ERROR "ROOMKEY_FUZZ needs clang: use the preset fuzz")
    endif()
    add_compile_options("$<${_host}:-fsanitize=fuzzer-no-link>")
endif()

# roomkey_test(NAME SOURCES file... [LIBRARIES target...])
# One cmocka program bin/NAME and one ctest of that name, label "unit", 60 s at most.
function(roomkey_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE roomkey_warnings ${arg_LIBRARIES} PkgConfig::CMOCKA)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 60)
endfunction()

# roomkey_fuzz(NAME SOURCES file... CORPUS dir [LIBRARIES target...])
# The sources define LLVMFuzzerTestOneInput. In the preset fuzz this is a libFuzzer program and its
# test fuzzes for some seconds (ROOMKEY_FUZZ_SECONDS); elsewhere it runs each corpus file once.
set(ROOMKEY_FUZZ_SECONDS 10 CACHE STRING "How long each fuzz test runs in the preset fuzz")
function(roomkey_fuzz name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "CORPUS" "SOURCES;LIBRARIES")
    cmake_path(ABSOLUTE_PATH arg_CORPUS)
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE roomkey_warnings ${arg_LIBRARIES})
    if(ROOMKEY_FUZZ)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        set(found "${PROJECT_BINARY_DIR}/fuzz/${name}")
        file(MAKE_DIRECTORY "${found}")
        add_test(NAME ${name} COMMAND ${name} -max_total_time=${ROOMKEY_FUZZ_SECONDS} -timeout=5
                 -print_final_stats=1 -artifact_prefix=${found}- ${found} ${arg_CORPUS})
    else()
        target_sources(${name} PRIVATE "${PROJECT_SOURCE_DIR}/cmake/fuzz_replay.c")
        add_test(NAME ${name} COMMAND ${name} ${arg_CORPUS})
    endif()
    math(EXPR deadline "${ROOMKEY_FUZZ_SECONDS} + 60")
    set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT ${deadline})
endfunction()
