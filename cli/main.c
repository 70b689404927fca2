/* roomkey: the operator's hand on roomkeyd.
 *
 * A command line is parsed against the tables, one request goes to the admin
 * API, its answer is shown.  Exit status: 0 done, 1 refused or failed with one
 * line on standard error, 2 not a command line that --help describes. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/say.h"
#include "common/host/version.h"

int main(int argc, char **argv)
{
    struct call call;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return say_failed("libcurl does not start");
    if (argc > 1 && strcmp(argv[1], "--complete") == 0)
        return complete_print(argc - 1, argv + 1);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("roomkey " ROOMKEY_VERSION);
        return STATUS_OK;
    }
    int rc = command_parse(argc, argv, &call);
    if (rc)
        return rc;
    if (call.help)
        help_print(&call);
    else
        rc = call.command->run(&call);
    if ((fflush(stdout) != 0 || ferror(stdout)) && !rc)
        rc = say_failed("cannot write the answer to standard output");
    curl_global_cleanup();
    return rc;
}
