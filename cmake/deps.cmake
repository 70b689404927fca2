# What Roomkey stands on: Debian's libraries by pkg-config, and what scripts/setup put in build/deps.

set(ROOMKEY_DEPS "${PROJECT_SOURCE_DIR}/build/deps" CACHE PATH "Where scripts/setup built")

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(_roomkey_package name module)
    pkg_check_modules(${name} QUIET IMPORTED_TARGET ${module})
    if(NOT ${name}_FOUND)
        message(FATAL_ERROR "${module} (development files) not found: run scripts/setup first")
    endif()
    set_target_properties(PkgConfig::${name} PROPERTIES IMPORTED_GLOBAL ON)
endfunction()

_roomkey_package(LIBUV libuv)
_roomkey_package(SQLITE sqlite3)
_roomkey_package(MICROHTTPD libmicrohttpd)
_roomkey_package(JANSSON jansson)
_roomkey_package(CURL libcurl)
_roomkey_package(SECCOMP libseccomp)
_roomkey_package(CRYPTO libcrypto)
_roomkey_package(CMOCKA cmocka)
_roomkey_package(XENLIGHT xenlight)
_roomkey_package(XENCONTROL xencontrol)
_roomkey_package(XENSTORE xenstore)
_roomkey_package(XENHYPFS xenhypfs)
_roomkey_package(XENTOOLLOG xentoollog)

# _roomkey_dep(TARGET folder DEFINES... LIBS...): the first library is the location, in link order.
function(_roomkey_dep target folder)
    cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "LIBS;DEFINES")
    set(dir "${ROOMKEY_DEPS}/${folder}")
    if(NOT EXISTS "${dir}/.stamp")
        message(FATAL_ERROR "${dir} is missing or half built: run scripts/setup first")
    endif()
    list(TRANSFORM arg_LIBS PREPEND "${dir}/lib/")
    add_library(${target} INTERFACE IMPORTED GLOBAL)
    target_include_directories(${target} SYSTEM INTERFACE "${dir}/include")
    target_compile_definitions(${target} INTERFACE ${arg_DEFINES})
    target_link_libraries(${target} INTERFACE ${arg_LIBS})
endfunction()

set(_config "MBEDTLS_CONFIG_FILE=\"roomkey_mbedtls_config.h\"")
_roomkey_dep(mbedtls::tls mbedtls-host DEFINES ${_config}
             LIBS libmbedtls.a libmbedx509.a libmbedcrypto.a libeverest.a libp256m.a)
_roomkey_dep(mbedtls::image mbedtls-image DEFINES ${_config} LIBS libmbedcrypto.a)
_roomkey_dep(llhttp::llhttp llhttp LIBS libllhttp.a)
_roomkey_dep(toml::toml toml LIBS libtoml.a)
