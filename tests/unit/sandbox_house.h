/* A backend, its loop and one instance, for the tests of the ground "sandbox". */
#ifndef TESTS_SANDBOX_HOUSE_H
#define TESTS_SANDBOX_HOUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "orchestrator/backend/backend.h"

struct house {
    uv_loop_t loop;
    uv_timer_t deadline; /* a test that waits longer has failed */
    struct backend *backend;
    char state[64];
    char image[128];      /* path of the guest */
    struct guest *guests; /* those with an instance */
};

/* One instance and all that it told. */
struct guest {
    struct house *house;
    struct guest *next; /* of the house */
    struct backend_instance *instance;
    int running, started, exited; /* how often it was said */
    bool in_call;                 /* start or adopt has not returned yet */
    struct backend_exit why;
    char console[65536]; /* lines, each with its newline */
    size_t console_len;
    unsigned lines;
};

/* A house for one test, as *state; what a test that failed left alive is ended. */
int house_set_up(void **state);
int house_tear_down(void **state);

/* Fails with a clear message when not root. */
void house_open(struct house *h);
/* Another orchestrator over the same state folder. */
void house_open_again(struct house *h, const struct house *first);
/* Closes the loop clean, or fails. */
void house_close(struct house *h);
/* Likewise, and leaves the state folder. */
void house_leave(struct house *h);
/* Puts the guest where images are: into the state folder. */
void house_move_image(struct house *h);

/* `act`: what tests/guest/sandbox_guest.c shall do. */
void guest_start(struct guest *g, struct house *h, const char *act, unsigned channels);
void guest_start_fd(struct guest *g, struct house *h, const char *act, unsigned channels,
                    int image_fd);
enum rc guest_adopt(struct guest *g, struct house *h, const struct backend_handle *handle,
                    unsigned channels);
void guest_wait_exit(struct guest *g);
void guest_wait_line(struct guest *g, const char *line);
bool guest_said(const struct guest *g, const char *line);
void guest_dispose(struct guest *g);

/* Starts, waits for the exit, disposes. */
void guest_run(struct guest *g, struct house *h, const char *act, unsigned channels);

#endif
