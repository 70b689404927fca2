#include "common/host/signal_ignored.h"

#include <signal.h>
#include <stddef.h>

bool signal_ignored(int number)
{
    struct sigaction now;

    return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}
