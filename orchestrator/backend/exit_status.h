/* What an image's exit status says, in the same words on every ground. */
#ifndef ORCHESTRATOR_EXIT_STATUS_H
#define ORCHESTRATOR_EXIT_STATUS_H

/* A static text to put behind the number, with its leading space; "" for a status that is the app's
 * own (common/core/launch.h has the others). */
const char *exit_status_meaning(int status);

#endif
