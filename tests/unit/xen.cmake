# The ground "xen", its helpers played by the test.
add_executable(xen_puppet xen_puppet.c)
target_link_libraries(xen_puppet PRIVATE roomkey_warnings roomkey_host)
add_library(xen_stage STATIC xen_stage.c)
target_compile_definitions(xen_stage PUBLIC XEN_PUPPET="$<TARGET_FILE:xen_puppet>")
target_link_libraries(xen_stage PRIVATE roomkey_warnings PUBLIC roomkey_xen PkgConfig::CMOCKA)
add_dependencies(xen_stage xen_puppet)
foreach(part instance helpers pool adopt)
    roomkey_test(test_xen_${part} SOURCES test_xen_${part}.c LIBRARIES xen_stage)
endforeach()
roomkey_test(test_xen_parts MEMCHECK SOURCES test_xen_parts.c
             LIBRARIES roomkey_xen roomkey_core roomkey_host)

roomkey_test(test_xen_mappings SOURCES test_xen_mappings.c
             LIBRARIES roomkey_xen roomkey_core roomkey_host)
target_link_options(test_xen_mappings PRIVATE LINKER:--wrap=open LINKER:--wrap=ioctl LINKER:--wrap=mmap)
