/* `roomkey-xen work`: does the jobs that come over XEN_JOB_FD, one after another,
 * and answers each.
 *
 * Failure modes: roomkeyd is gone: a job that was read then is not begun, and a
 * domain that nobody could be told of is destroyed; the end is quiet (0).  What
 * arrives makes no sense: 1.  Xen's libraries may end the process; then roomkeyd
 * starts another. */
#ifndef XEN_HELPER_WORK_H
#define XEN_HELPER_WORK_H

/* The process's exit status. */
int work_main(void);

#endif
