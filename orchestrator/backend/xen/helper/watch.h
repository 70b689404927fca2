/* `roomkey-xen watch`: tells what happens to the domains that it is asked to
 * watch.  It never waits for a guest: it reads nodes and asks the hypervisor.
 *
 * Happy path: XEN_JOB_WATCH -> XEN_PUBLISHED when the control channel's node is
 * there -> XEN_USAGE now and then -> XEN_SHUTDOWN -> XEN_GONE.  What holds already
 * is told at once; PUBLISHED always comes before SHUTDOWN when it was to be had.
 *
 * Failure modes: a guest that writes nonsense into its nodes has not published;
 * one that goes on doing so is no longer listened to.  roomkeyd is gone: the end,
 * quietly (0).  Xen or xenstored fails: 1, and roomkeyd starts another. */
#ifndef XEN_HELPER_WATCH_H
#define XEN_HELPER_WATCH_H

/* The process's exit status. */
int watch_main(void);

#endif
