# The front's key agent.
roomkey_test(test_agent_msg SOURCES test_agent_msg.c LIBRARIES roomkey_agent)
roomkey_test(test_agent_arena SOURCES test_agent_arena.c LIBRARIES roomkey_agent)
roomkey_test(test_agent_sign SOURCES test_agent_sign.c LIBRARIES roomkey_agent)
add_library(memory_search STATIC memory_search.c)
target_link_libraries(memory_search PRIVATE roomkey_warnings PUBLIC PkgConfig::CMOCKA)
roomkey_test(test_agent SOURCES test_agent.c LIBRARIES roomkey_agent memory_search)
roomkey_test(test_front_walls SOURCES test_front_walls.c LIBRARIES roomkey_front)
roomkey_test(test_key_server MEMCHECK SOURCES test_key_server.c LIBRARIES roomkey_fleet)
