# How image code is compiled: musl, static, not PIE, no sanitizer, no hardening that needs glibc.
#
# musl-gcc is gcc with another specs file, so image targets live in the same build as host targets:
# same compiler, plus -specs. With another compiler than gcc (preset fuzz) no image is built;
# ROOMKEY_IMAGES says which.

find_file(ROOMKEY_MUSL_SPECS musl-gcc.specs
          PATHS /usr/lib/x86_64-linux-musl /usr/lib/musl/lib /usr/local/musl/lib NO_DEFAULT_PATH)
if(NOT ROOMKEY_MUSL_SPECS)
    message(FATAL_ERROR "musl-gcc.specs not found (Debian: musl-tools): run scripts/setup first")
endif()

if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    set(ROOMKEY_IMAGES ON)
else()
    set(ROOMKEY_IMAGES OFF)
    message(STATUS "No images in this build: they need gcc (compiler: ${CMAKE_C_COMPILER_ID})")
endif()

# What an app of ours or of a customer's (roomkey-cc) is compiled and linked with.
set(ROOMKEY_IMAGE_CFLAGS "-specs=${ROOMKEY_MUSL_SPECS}" -std=c11 -O2 -g -fno-pie
    -ffunction-sections -fdata-sections -fstack-protector-strong -fstack-clash-protection)
set(ROOMKEY_IMAGE_LDFLAGS -static -no-pie
    -Wl,--gc-sections -Wl,-z,max-page-size=4096 -Wl,--build-id=none)

function(_roomkey_image_target target)
    set_target_properties(${target} PROPERTIES ROOMKEY_IMAGE ON POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE ${ROOMKEY_IMAGE_CFLAGS})
    target_link_libraries(${target} PRIVATE roomkey_warnings)
endfunction()

# roomkey_image_library(NAME SOURCES file... [LIBRARIES target...])
# A static library for images. An ordinary target: target_include_directories() etc. work on it.
function(roomkey_image_library name)
    if(NOT ROOMKEY_IMAGES)
        return()
    endif()
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
    add_library(${name} STATIC ${arg_SOURCES})
    _roomkey_image_target(${name})
    target_link_libraries(${name} PUBLIC ${arg_LIBRARIES})
endfunction()

# roomkey_image(NAME VERSION SOURCES file... [OPTIONS option...])
# The image images/NAME-VERSION.img, as target image-NAME-VERSION, made by bin/roomkey-cc as anybody's
# would be. Its sources see ROOMKEY_IMAGE_NAME and ROOMKEY_IMAGE_VERSION as string literals.
set(ROOMKEY_CC "${PROJECT_BINARY_DIR}/bin/roomkey-cc")
set(ROOMKEY_SDK_DIR "${PROJECT_BINARY_DIR}/lib/roomkey")
function(roomkey_image name version)
    if(NOT ROOMKEY_IMAGES)
        return()
    endif()
    cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "SOURCES;OPTIONS")
    list(TRANSFORM arg_SOURCES PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/" REGEX "^[^/]")
    set(image "${ROOMKEY_IMAGE_DIR}/${name}-${version}.img")
    set(depfile "${CMAKE_CURRENT_BINARY_DIR}/${name}-${version}.d")
    file(MAKE_DIRECTORY "${ROOMKEY_IMAGE_DIR}")
    add_custom_command(
        OUTPUT "${image}"
        COMMAND "${ROOMKEY_CC}" ${arg_SOURCES} -o "${image}"
                -I "${PROJECT_SOURCE_DIR}" -D_GNU_SOURCE -Wall -Wextra -Werror ${arg_OPTIONS}
                "-DROOMKEY_IMAGE_NAME=\"${name}\"" "-DROOMKEY_IMAGE_VERSION=\"${version}\""
                -MD -MF "${depfile}" -MT "${image}"
        DEPENDS ${arg_SOURCES} "${ROOMKEY_CC}" roomkey_runtime roomkey_kernel
                "${ROOMKEY_SDK_DIR}/image.ld" "${ROOMKEY_SDK_DIR}/include/roomkey/app.h"
        DEPFILE "${depfile}"
        COMMENT "Making ${name}-${version}.img"
        VERBATIM)
    add_custom_target("image-${name}-${version}" ALL DEPENDS "${image}")
endfunction()
