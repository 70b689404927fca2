/* roomkey-front: see parent.h for what the first process does, worker.h for the
 * others. */
#include "common/host/log.h"
#include "tls-front/options.h"
#include "tls-front/parent.h"

int main(int argc, char **argv)
{
    struct options options;

    log_open("roomkey-front", LOG_INFO);
    options_parse(&options, argc, argv);
    return parent_run(&options);
}
