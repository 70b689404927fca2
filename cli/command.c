/* The parser: words against the tables.  Global options may stand anywhere. */
#include "cli/command.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/say.h"
#include "cli/text.h"

#define RUN_DEFAULT "/run/roomkey"

const struct noun nouns[] = {
    {"image", "the programs that tenants run", image_commands},
    {"tenant", "customers: what they run, under which host names", tenant_commands},
    {"instance", "what is running now", instance_commands},
    {"cert", "certificates and their keys", cert_commands},
    {"logs", "what a tenant's program says", logs_commands},
    {"events", "what happened: tenants, images, upgrades, crashes", events_commands},
    {"status", "one screen: tenants, running, memory, wakes", status_commands},
    {"doctor", "check this host: grounds, permissions, limits, what to do", doctor_commands},
    {NULL, NULL, NULL},
};

const struct option *command_options(const struct command *c, size_t *count)
{
    *count = 0;
    while (c->options && c->options[*count].name)
        (*count)++;
    return c->options;
}

static size_t option_index(const struct command *c, const char *name, size_t len)
{
    size_t count;
    const struct option *o = command_options(c, &count);

    for (size_t i = 0; i < count; i++)
        if (strlen(o[i].name) == len && strncmp(o[i].name, name, len) == 0)
            return i;
    return OPTIONS_MAX;
}

const struct value *command_value(const struct call *c, const char *option)
{
    return &c->values[option_index(c->command, option, strlen(option))];
}

static int read_value(const struct call *c, const struct option *o, const char *text,
                      struct value *out)
{
    bool ok = true;

    if (out->given)
        return say_misused(c, "--%s is given twice", o->name);
    out->given = true;
    out->text = text;
    switch (o->kind) {
    case OPTION_DURATION:
        if (!text_parse_duration(text, &out->number))
            return say_misused(
                c, "--%s %s is no duration: give a number and ms, s, m, h or d, as in 60s", o->name,
                text);
        break;
    case OPTION_SIZE:
        if (!text_parse_size(text, &out->number))
            return say_misused(c, "--%s %s is no size: give a number and K, M or G, as in 16M",
                               o->name, text);
        break;
    case OPTION_COUNT:
        if (!text_parse_count(text, &out->number))
            return say_misused(c, "--%s %s is no number", o->name, text);
        break;
    case OPTION_FLAG:
        break;
    case OPTION_TEXT:
    case OPTION_LIST:
    case OPTION_FILE:
        ok = *text;
        break;
    }
    return ok ? STATUS_OK : say_misused(c, "--%s needs a value", o->name);
}

/* One "--word" at argv[*i]; may take the next word as its value. */
static int read_option(struct call *c, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const char *value = equals ? equals + 1 : NULL;
    size_t index = c->command ? option_index(c->command, name, len) : OPTIONS_MAX;
    bool run = len == 3 && strncmp(name, "run", 3) == 0;

    if (!equals && strcmp(name, "json") == 0) {
        c->json = true;
        return STATUS_OK;
    }
    if (!equals && strcmp(name, "help") == 0) {
        c->help = true;
        return STATUS_OK;
    }
    if (!run && index == OPTIONS_MAX)
        return say_misused(c, "there is no option --%.*s here", (int)len, name);
    const struct option *o = run ? NULL : &c->command->options[index];
    if (o && o->kind == OPTION_FLAG) {
        if (equals)
            return say_misused(c, "--%s takes no value", o->name);
        return read_value(c, o, "", &c->values[index]);
    }
    if (!value) {
        if (*i + 1 >= argc)
            return say_misused(c, "--%.*s needs a value", (int)len, name);
        value = argv[++*i];
    }
    if (o)
        return read_value(c, o, value, &c->values[index]);
    c->run = value;
    return *value ? STATUS_OK : say_misused(c, "--run needs a folder");
}

static int read_word(struct call *c, const char *word, size_t *operands)
{
    if (!c->noun) {
        for (const struct noun *n = nouns; n->name && !c->noun; n++)
            if (strcmp(n->name, word) == 0)
                c->noun = n;
        if (!c->noun)
            return say_misused(c, "there is no command %s", word);
        if (!*c->noun->commands->name)
            c->command = c->noun->commands;
        return STATUS_OK;
    }
    if (!c->command) {
        for (const struct command *v = c->noun->commands; v->name && !c->command; v++)
            if (strcmp(v->name, word) == 0)
                c->command = v;
        if (!c->command)
            return say_misused(c, "there is no command %s here", word);
        return STATUS_OK;
    }
    if (*operands == OPERANDS_MAX || !c->command->operands[*operands])
        return say_misused(c, "one word too many: %s", word);
    if (!*word)
        return say_misused(c, "%s is empty", c->command->operands[*operands]);
    c->operands[(*operands)++] = word;
    return STATUS_OK;
}

static int check_complete(const struct call *c, size_t operands)
{
    size_t count;

    if (!c->noun)
        return say_misused(c, "say what to do, as in roomkey status");
    if (!c->command) {
        char verbs[256] = "";

        for (const struct command *v = c->noun->commands; v->name; v++) {
            strncat(verbs, v == c->noun->commands ? "" : ", ", sizeof verbs - strlen(verbs) - 1);
            strncat(verbs, v->name, sizeof verbs - strlen(verbs) - 1);
        }
        return say_misused(c, "say what to do: %s", verbs);
    }
    if (operands < OPERANDS_MAX && c->command->operands[operands])
        return say_misused(c, "%s is missing", c->command->operands[operands]);
    const struct option *o = command_options(c->command, &count);
    for (size_t i = 0; i < count; i++)
        if (o[i].required && !c->values[i].given)
            return say_misused(c, "--%s %s is missing", o[i].name, o[i].value);
    return STATUS_OK;
}

int command_parse(int argc, char **argv, struct call *out)
{
    size_t operands = 0;
    bool words_only = false;
    int rc;

    *out = (struct call){.run = getenv("ROOMKEY_RUN")};
    if (!out->run || !*out->run)
        out->run = RUN_DEFAULT;
    for (int i = 1; i < argc; i++) {
        if (!words_only && strcmp(argv[i], "--") == 0) {
            words_only = true;
            continue;
        }
        if (!words_only && strcmp(argv[i], "-h") == 0) {
            out->help = true;
            continue;
        }
        if (!words_only && argv[i][0] == '-' && argv[i][1] && argv[i][1] != '-')
            return say_misused(out, "there is no option %s here", argv[i]);
        if (!words_only && strncmp(argv[i], "--", 2) == 0)
            rc = read_option(out, argc, argv, &i);
        else
            rc = read_word(out, argv[i], &operands);
        if (rc)
            return rc;
    }
    return out->help ? STATUS_OK : check_complete(out, operands);
}

static json_t *list_of(const char *text)
{
    json_t *list = json_array();

    for (;;) {
        size_t len = strcspn(text, ",");

        json_array_append_new(list, json_stringn(text, len));
        if (!text[len])
            return list;
        text += len + 1;
    }
}

/* roomkeyd runs in another folder. */
static json_t *absolute(const char *path)
{
    char *cwd = *path == '/' ? NULL : getcwd(NULL, 0);
    json_t *whole = cwd ? json_sprintf("%s/%s", cwd, path) : json_string(path);

    free(cwd);
    return whole;
}

json_t *command_body(const struct call *c)
{
    json_t *body = json_object();
    size_t count;
    const struct option *o = command_options(c->command, &count);

    for (size_t i = 0; i < count; i++) {
        const struct value *v = &c->values[i];
        json_t *value = NULL;

        if (!o[i].member || !v->given)
            continue;
        switch (o[i].kind) {
        case OPTION_FLAG:
            value = json_true();
            break;
        case OPTION_TEXT:
            value = json_string(v->text);
            break;
        case OPTION_LIST:
            value = list_of(v->text);
            break;
        case OPTION_FILE:
            value = absolute(v->text);
            break;
        case OPTION_DURATION:
        case OPTION_SIZE:
        case OPTION_COUNT:
            value = json_integer(v->number);
            break;
        }
        json_object_set_new(body, o[i].member, value);
    }
    return body;
}
