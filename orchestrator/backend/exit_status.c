#include "orchestrator/backend/exit_status.h"

#include "common/core/launch.h"

const char *exit_status_meaning(int status)
{
    switch (status) {
    case LAUNCH_EXIT_USAGE:
        return " (it did not understand how it was launched)";
    case LAUNCH_EXIT_START:
        return " (on_start failed)";
    case LAUNCH_EXIT_PEER:
        return " (its control channel made no sense)";
    case LAUNCH_EXIT_PANIC:
        return " (panic: its log says where)";
    default:
        return "";
    }
}
