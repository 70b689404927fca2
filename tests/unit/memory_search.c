#include "memory_search.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

bool memory_has(pid_t pid, const void *what, size_t len)
{
    char path[64], line[256];
    unsigned long from, to;
    bool found = false;
    FILE *maps;
    int mem;

    snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    mem = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(mem >= 0);
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        uint8_t *buf;
        ssize_t n;

        if (sscanf(line, "%lx-%lx ", &from, &to) != 2 || !strstr(line, " rw"))
            continue;
        buf = malloc(to - from);
        n = pread(mem, buf, to - from, (off_t)from);
        if (n > 0 && memmem(buf, (size_t)n, what, len)) {
            print_message("found in %s", line);
            found = true;
        }
        free(buf);
    }
    fclose(maps);
    close(mem);
    return found;
}

/* `hex`: of a number. */
static bool has_number(pid_t pid, const char *hex)
{
    uint8_t big[512], little[512];
    size_t n = strlen(hex) / 2;
    unsigned byte;

    assert_true(n >= 32 && n <= sizeof big);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        big[i] = little[n - 1 - i] = (uint8_t)byte;
    }
    return memory_has(pid, big, n) || memory_has(pid, little, n);
}

bool memory_has_key(pid_t pid, const char *file)
{
    char line[4096], text[4096];
    unsigned numbers = 0;
    bool has = false;
    size_t n;
    FILE *p;

    /* The secret numbers, a line each, without leading zeros. */
    snprintf(line, sizeof line,
             "openssl pkey -in %s -noout -text | awk '/^[^ ]/ { name = $1; next }"
             " { gsub(/[ :]/, \"\"); number[name] = number[name] $0 }"
             " END { split(\"priv: privateExponent: prime1: prime2: exponent1: exponent2:"
             " coefficient:\", names, \" \"); for (i in names) if (number[names[i]] != \"\")"
             " { sub(/^(00)+/, \"\", number[names[i]]); print number[names[i]] } }'",
             file);
    p = popen(line, "re");
    assert_non_null(p);
    while (fgets(text, sizeof text, p)) {
        text[strcspn(text, "\n")] = '\0';
        has = has_number(pid, text) || has;
        numbers++;
    }
    assert_int_equal(pclose(p), 0);
    assert_true(numbers == 1 || numbers == 6);

    p = fopen(file, "re"); /* the first line of the key itself */
    assert_non_null(p);
    while (fgets(text, sizeof text, p) && strncmp(text, "-----BEGIN", 10) != 0)
        ;
    assert_non_null(fgets(text, sizeof text, p));
    n = strcspn(text, "\n");
    fclose(p);
    return memory_has(pid, text, n) || has;
}
