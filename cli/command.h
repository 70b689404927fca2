/* The commands as data: one table per noun, from which the parser, the help, the
 * completion and the bodies of requests are made. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

#define OPERANDS_MAX 2
#define OPTIONS_MAX  10

struct call;

enum option_kind {
    OPTION_FLAG,     /* true */
    OPTION_TEXT,     /* as it is */
    OPTION_LIST,     /* comma-separated, becomes an array */
    OPTION_FILE,     /* a path, made absolute */
    OPTION_DURATION, /* milliseconds */
    OPTION_SIZE,     /* bytes */
    OPTION_COUNT,    /* a number from 0 on */
};

struct option {
    const char *name;   /* without the dashes; NULL ends a table */
    const char *value;  /* as the help shows it: "DURATION"; NULL for a flag */
    const char *member; /* of the request's body; NULL: not part of it */
    enum option_kind kind;
    bool required;
    const char *help;
};

struct command {
    const char *name;                   /* NULL ends a table; "" when the noun itself is one */
    const char *operands[OPERANDS_MAX]; /* "TENANT", "NAME:VERSION", "FILE": all required */
    const char *help;
    const struct option *options; /* NULL: none */
    int (*run)(struct call *c);   /* the program's exit status */
};

struct noun {
    const char *name; /* NULL ends the table */
    const char *help;
    const struct command *commands;
};

extern const struct noun nouns[];
extern const struct command image_commands[], tenant_commands[], instance_commands[],
    cert_commands[], logs_commands[], events_commands[], status_commands[], doctor_commands[];

struct value {
    bool given;
    const char *text; /* borrowed from argv */
    int64_t number;   /* of a duration, size or count */
};

/* One command line, parsed. */
struct call {
    const char *run; /* folder of the sockets */
    bool json;
    bool help;
    const struct noun *noun;       /* NULL: none was named */
    const struct command *command; /* NULL: none was named */
    const char *operands[OPERANDS_MAX];
    struct value values[OPTIONS_MAX]; /* by index in command->options */
};

/* Reads a command line.  STATUS_OK, or STATUS_USAGE with what is wrong on
 * standard error. */
int command_parse(int argc, char **argv, struct call *out);

const struct option *command_options(const struct command *c, size_t *count);

/* The value of an option of this call's command; the option must be in its table. */
const struct value *command_value(const struct call *c, const char *option);

/* The members that the given options make.  Owned by the caller. */
json_t *command_body(const struct call *c);

/* What --help says at this level, on standard output. */
void help_print(const struct call *c);

/* Prints what may come next after these words, for the shell's completion. */
int complete_print(int argc, char **argv);

#endif
