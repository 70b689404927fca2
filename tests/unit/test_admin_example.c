/* packaging/roomkey.toml says what is built in: its commented settings are the defaults,
 * and there is one for each. */
#include "tests/unit/unit.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/config.h"

/* Takes the comment sign off lines that are settings. */
static void uncomment(char *out, size_t size)
{
    FILE *f = fopen(EXAMPLE, "re");
    char line[256];

    assert_non_null(f);
    *out = '\0';
    while (fgets(line, sizeof line, f)) {
        size_t word = strlen("# ");

        if (strncmp(line, "# ", 2) == 0)
            while (islower((unsigned char)line[word]) || line[word] == '_')
                word++;
        bool setting = word > 2 && strncmp(line + word, " = ", 3) == 0;

        assert_true(strlen(out) + strlen(line) < size);
        strcat(out, setting ? line + 2 : line);
    }
    fclose(f);
}

static void the_example_is_the_defaults(void **state)
{
    struct config standard, read;
    char text[16384];
    struct refusal no;

    (void)state;
    uncomment(text, sizeof text);
    config_init(&standard);
    config_init(&read);
    memset(&read.limits, 0xff, sizeof read.limits);
    memset(&read.xen, 0xff, offsetof(struct xen_settings, pool_delay_ms));
    if (config_parse(&read, text, &no)) {
        char line[3 * REFUSAL_TEXT_MAX];

        fail_msg("%s", refusal_line(&no, line, sizeof line));
    }
    assert_memory_equal(&read.limits, &standard.limits, sizeof read.limits);
    assert_memory_equal(&read.xen, &standard.xen, sizeof read.xen);
    assert_string_equal(read.state, standard.state);
    assert_string_equal(read.run, standard.run);
    assert_string_equal(read.ground, standard.ground);
    assert_int_equal(read.leave_instances, standard.leave_instances);
    assert_int_equal(read.log_level, standard.log_level);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_example_is_the_defaults)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
