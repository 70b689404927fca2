/* How an instance is launched: the contract of a backend and a tenant's ground.
 * See schema/wire/image.md.  Freestanding, no code.
 *
 * Arguments (argv on linux, the command line on pvh) are `key=value` words:
 *   roomkey.tenant=NAME  roomkey.generation=N  roomkey.channels=N  roomkey.memory=KIB
 * An image started without them says so on its console and exits 64.
 *
 * On the ground `linux` all an instance has is open descriptors:
 *   0          /dev/null
 *   1, 2       console (a pipe that the backend reads into the tenant's log;
 *              O_NONBLOCK: lines are lost rather than waited for)
 *   3          doorbell of the instance (eventfd): every peer rings this one
 *   4, 5       control channel: memory (sealed memfd), the orchestrator's doorbell
 *   6+2i, 7+2i channel i, one per front worker: memory, that worker's doorbell
 * Memory is laid out by ring_format(); its length is that of the memfd. */
#ifndef COMMON_LAUNCH_H
#define COMMON_LAUNCH_H

#define LAUNCH_FD_DOORBELL            3
#define LAUNCH_FD_CONTROL_MEMORY      4
#define LAUNCH_FD_CONTROL_DOORBELL    5
#define LAUNCH_FD_CHANNEL_MEMORY(i)   (6 + 2 * (int)(i))
#define LAUNCH_FD_CHANNEL_DOORBELL(i) (7 + 2 * (int)(i))
#define LAUNCH_CHANNELS_MAX           64

#define LAUNCH_ARG_TENANT     "roomkey.tenant="
#define LAUNCH_ARG_GENERATION "roomkey.generation="
#define LAUNCH_ARG_CHANNELS   "roomkey.channels="
#define LAUNCH_ARG_MEMORY     "roomkey.memory="

/* Exit statuses of an instance. */
#define LAUNCH_EXIT_OK    0   /* stopped as asked */
#define LAUNCH_EXIT_USAGE 64  /* not launched by a backend */
#define LAUNCH_EXIT_START 65  /* on_start failed; FAILED was sent */
#define LAUNCH_EXIT_PEER  66  /* the control channel made no sense */
#define LAUNCH_EXIT_PANIC 134 /* a CHECK or a fault */

/* Default ring orders: bytes are 2^order. */
#define LAUNCH_CONTROL_ORDER 13 /* each way */
#define LAUNCH_LEFT_ORDER    17 /* worker to tenant */
#define LAUNCH_RIGHT_ORDER   18 /* tenant to worker */

#endif
