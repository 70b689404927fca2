/* --help at every level and the words for the shell's completion, both out of
 * the command tables. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/json.h"

static const char *const globals =
    "\nEverywhere:\n"
    "  --json      what the daemon answers, for programs\n"
    "  --run DIR   folder of roomkeyd's sockets (ROOMKEY_RUN; else /run/roomkey)\n"
    "  --help      this\n";

static int synopsis(const struct noun *n, const struct command *c, char *out, size_t size)
{
    int len = snprintf(out, size, "roomkey %s%s%s", n->name, *c->name ? " " : "", c->name);

    for (size_t i = 0; i < OPERANDS_MAX && c->operands[i]; i++)
        len += snprintf(out + len, size - (size_t)len, " %s", c->operands[i]);
    return len;
}

static void sentence(const char *help)
{
    printf("\n%c%s.\n", toupper((unsigned char)help[0]), help + 1);
}

static void help_command(const struct noun *n, const struct command *c)
{
    char line[256];
    bool optional = false;
    size_t count;
    const struct option *o = command_options(c, &count);

    synopsis(n, c, line, sizeof line);
    printf("Usage: %s", line);
    for (size_t i = 0; i < count; i++) {
        if (o[i].required)
            printf(" --%s %s", o[i].name, o[i].value);
        else
            optional = true;
    }
    puts(optional ? " [OPTION]..." : "");
    sentence(c->help);
    if (count)
        puts("\nOptions:");
    for (size_t i = 0; i < count; i++) {
        snprintf(line, sizeof line, "--%s%s%s", o[i].name, o[i].value ? " " : "",
                 o[i].value ? o[i].value : "");
        printf("  %-26s %s\n", line, o[i].help);
    }
}

static void help_noun(const struct noun *n)
{
    char line[256];

    printf("Usage: roomkey %s COMMAND\n", n->name);
    sentence(n->help);
    puts("\nCommands:");
    for (const struct command *c = n->commands; c->name; c++) {
        synopsis(n, c, line, sizeof line);
        printf("  %-38s %s\n", line, c->help);
    }
}

void help_print(const struct call *c)
{
    if (c->command) {
        help_command(c->noun, c->command);
    } else if (c->noun) {
        help_noun(c->noun);
    } else {
        puts("Usage: roomkey COMMAND\n\n"
             "Runs one machine per customer, awake while it is used.\n\nCommands:");
        for (const struct noun *n = nouns; n->name; n++)
            printf("  %-10s %s\n", n->name, n->help);
        puts("\nroomkey COMMAND --help says more; roomkey --version its version.");
    }
    fputs(globals, stdout);
}

/* Names out of the registry; none, silently, when the daemon is away. */
static void complete_names(const char *run, const char *path, const char *second)
{
    json_t *list = client_try(run, path);
    json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        const char *name = json_text(item, "name");

        if (second)
            printf("%s:%s\n", name, json_text(item, second));
        else
            puts(name);
    }
    json_decref(list);
}

static void complete_kind(const char *run, const char *kind)
{
    if (strcmp(kind, "TENANT") == 0)
        complete_names(run, "/v1/tenants", NULL);
    else if (strcmp(kind, "NAME:VERSION") == 0)
        complete_names(run, "/v1/images", "version");
}

int complete_print(int argc, char **argv)
{
    const struct noun *n = nouns;
    const struct command *c;
    size_t count;
    int word = 1;
    struct call defaults;

    if (command_parse(2, (char *[]){argv[0], "--help"}, &defaults))
        return STATUS_USAGE;
    if (argc <= word) {
        for (; n->name; n++)
            puts(n->name);
        return STATUS_OK;
    }
    while (n->name && strcmp(n->name, argv[word]) != 0)
        n++;
    if (!n->name)
        return STATUS_OK;
    word++;
    c = n->commands;
    if (*c->name) {
        if (argc <= word) {
            for (; c->name; c++)
                puts(c->name);
            return STATUS_OK;
        }
        while (c->name && strcmp(c->name, argv[word]) != 0)
            c++;
        if (!c->name)
            return STATUS_OK;
        word++;
    }
    const struct option *o = command_options(c, &count);
    for (size_t i = 0; i < count; i++) {
        if (argc > word && o[i].value && strncmp(argv[argc - 1], "--", 2) == 0 &&
            strcmp(argv[argc - 1] + 2, o[i].name) == 0) {
            complete_kind(defaults.run, o[i].value);
            return STATUS_OK;
        }
        printf("--%s\n", o[i].name);
    }
    puts("--json\n--help");
    int operand = argc - word;
    if (operand < OPERANDS_MAX && c->operands[operand])
        complete_kind(defaults.run, c->operands[operand]);
    return STATUS_OK;
}
