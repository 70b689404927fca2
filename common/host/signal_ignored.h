/* Signals that whoever started this program wants it to live through, as nohup(1) does. */
#ifndef COMMON_HOST_SIGNAL_IGNORED_H
#define COMMON_HOST_SIGNAL_IGNORED_H

#include <stdbool.h>

/* Asked before something waits for the signal: Linux keeps one that is blocked, for a signalfd,
 * also when it is ignored. */
bool signal_ignored(int number);

#endif
