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

# The same program under valgrind's memcheck, which sees the reading and the sending of what nobody
# wrote, as no sanitizer of gcc does; label "memcheck". In builds without a sanitizer.
find_program(ROOMKEY_VALGRIND valgrind REQUIRED)
function(_roomkey_memcheck name)
    if(NOT ROOMKEY_SANITIZE AND NOT CMAKE_C_FLAGS MATCHES "profile-instr")
        add_test(NAME memcheck_${name} COMMAND "${ROOMKEY_VALGRIND}" -q --error-exitcode=99
                 $<TARGET_FILE:${name}> ${ARGN})
        set_tests_properties(memcheck_${name} PROPERTIES LABELS memcheck TIMEOUT 120)
    endif()
endfunction()

# roomkey_test(NAME [MEMCHECK] [THREADS] SOURCES file... [LIBRARIES target...])
# One cmocka program bin/NAME and one ctest of that name, label "unit", 60 s at most. MEMCHECK: and
# once more under valgrind. THREADS: what it tests has several, and `scripts/test tsan` runs it.
function(roomkey_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "MEMCHECK;THREADS" "" "SOURCES;LIBRARIES")
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE roomkey_warnings ${arg_LIBRARIES} PkgConfig::CMOCKA)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 60)
    if(arg_MEMCHECK)
        _roomkey_memcheck(${name})
    endif()
    if(arg_THREADS)
        set_property(TEST ${name} APPEND PROPERTY LABELS threads)
        add_dependencies(threads ${name})
    endif()
endfunction()
add_custom_target(threads)

# roomkey_fuzz(NAME [NO_MEMCHECK] SOURCES file... CORPUS dir DECODES file... [LIBRARIES target...])
# The sources define LLVMFuzzerTestOneInput. In the preset fuzz this is a libFuzzer program and its
# test fuzzes for some seconds (fuzz_run.sh); elsewhere it runs each corpus file once, and once more
# under valgrind unless NO_MEMCHECK. DECODES are
# the files, from the top of the repository, whose lines `scripts/fuzz coverage` counts.
function(roomkey_fuzz name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "NO_MEMCHECK" "CORPUS" "SOURCES;LIBRARIES;DECODES")
    cmake_path(ABSOLUTE_PATH arg_CORPUS)
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE roomkey_warnings ${arg_LIBRARIES})
    list(TRANSFORM arg_DECODES PREPEND "${PROJECT_SOURCE_DIR}/")
    list(JOIN arg_DECODES "\n" decodes)
    file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/decodes/${name}" CONTENT "${decodes}\n")
    if(ROOMKEY_FUZZ)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        add_test(NAME ${name} COMMAND "${PROJECT_SOURCE_DIR}/cmake/fuzz_run.sh"
                 $<TARGET_FILE:${name}> "${PROJECT_BINARY_DIR}/found" ${arg_CORPUS})
        set_tests_properties(${name} PROPERTIES TIMEOUT 86400) # the script's deadline counts
    else()
        target_sources(${name} PRIVATE "${PROJECT_SOURCE_DIR}/cmake/fuzz_replay.c")
        add_test(NAME ${name} COMMAND ${name} ${arg_CORPUS})
        set_tests_properties(${name} PROPERTIES TIMEOUT 60)
        if(NOT arg_NO_MEMCHECK)
            _roomkey_memcheck(${name} ${arg_CORPUS})
        endif()
    endif()
    set_tests_properties(${name} PROPERTIES LABELS fuzz)
endfunction()
