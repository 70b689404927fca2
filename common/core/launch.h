/* How an instance is launched: the contract of a backend and a tenant's ground.
 * See schema/wire/image.md.  Freestanding, no code.
 *
 * Arguments (argv on linux, the command line on pvh, a node on xen) are `key=value`
 * words:
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
 * Memory is laid out by ring_format(); its length is that of the memfd.
 *
 * On the ground `xen` an app finds the very same descriptors, which are its
 * kernel's; there each channel is a vchan whose server is the domain and whose
 * client is domain 0.  What is between them are nodes of xenstore, relative to the
 * domain's own directory, /local/domain/DOMID:
 *   roomkey/launch      host: the words, parted by spaces, and roomkey.seed=HEX:
 *                       32 bytes of the host's entropy, which the app does not see.
 *                       Without the node (xl create) the command line is taken
 *   data/roomkey/0 …    guest: `ring-ref`, then `event-channel`, as libxenvchan has
 *   data/roomkey/control  them.  The orchestrator's is the last to appear
 *   data/roomkey/exit   guest: the status, when it is not 0; the domain has crashed
 * roomkey.memory is there what the domain was given less an eighth of it: the
 * channels' memory is the domain's own. */
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
#define LAUNCH_ARG_SEED       "roomkey.seed=" /* xen and pvh only; the kernel keeps it */
#define LAUNCH_SEED_SIZE      32              /* bytes: twice as many hex digits */

/* Nodes of xenstore. */
#define LAUNCH_NODE_WORDS    "roomkey/launch"
#define LAUNCH_NODE_CHANNELS "data/roomkey" /* /0 … and /control */
#define LAUNCH_NODE_CONTROL  "data/roomkey/control"
#define LAUNCH_NODE_EXIT     "data/roomkey/exit"
#define LAUNCH_NODE_REF      "ring-ref"
#define LAUNCH_NODE_PORT     "event-channel"

/* Exit statuses of an instance. */
#define LAUNCH_EXIT_OK    0   /* stopped as asked */
#define LAUNCH_EXIT_USAGE 64  /* not launched by a backend */
#define LAUNCH_EXIT_START 65  /* on_start failed; FAILED was sent */
#define LAUNCH_EXIT_PEER  66  /* the control channel made no sense */
#define LAUNCH_EXIT_PANIC 134 /* a CHECK or a fault */

/* Ring orders, bytes being 2^order.  On xen a worker's are less when the domain is
 * small: all channels take at most about an eighth of it. */
#define LAUNCH_CONTROL_ORDER 13 /* each way */
#define LAUNCH_LEFT_ORDER    17 /* worker to tenant */
#define LAUNCH_RIGHT_ORDER   18 /* tenant to worker */

#endif
