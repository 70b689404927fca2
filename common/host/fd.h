/* Descriptors that somebody owns: -1 where there is none. */
#ifndef COMMON_HOST_FD_H
#define COMMON_HOST_FD_H

#include <unistd.h>

/* Closes it, if there is one, and forgets it. */
static inline void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

#endif
