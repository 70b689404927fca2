/* The version of the host programs, in one place. */
#ifndef COMMON_HOST_VERSION_H
#define COMMON_HOST_VERSION_H

#define ROOMKEY_VERSION "0.1.0"

#endif
