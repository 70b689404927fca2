/* Stands in for libFuzzer's main: every file of a corpus folder goes once through the fuzz target,
 * so that each build and sanitizer sees what fuzzing has found.
 *
 * Happy path: one folder, each file read whole and passed on, exit 0 with a count on stdout.
 * Failure modes: a folder or file that cannot be read, or a folder with no file, is exit 1; a
 * finding crashes, with the file's name as the last line on stdout. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The buffer is exactly as long as the file, so that ASan sees a read past its end. */
static int replay(int dir, const char *name)
{
    struct stat st;
    uint8_t *buf = NULL;
    size_t size;
    int rc = -1;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0)
        goto out;
    size = (size_t)st.st_size;
    buf = malloc(size ? size : 1);
    if (!buf || read(fd, buf, size) != (ssize_t)size)
        goto out;
    printf("%s\n", name);
    fflush(stdout);
    rc = LLVMFuzzerTestOneInput(buf, size) < 0 ? -1 : 0;
out:
    free(buf);
    close(fd);
    return rc;
}

int main(int argc, char **argv)
{
    struct dirent *entry;
    unsigned files = 0;
    DIR *dir;

    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    dir = opendir(argv[1]);
    if (!dir) {
        fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        errno = 0;
        if (replay(dirfd(dir), entry->d_name) != 0) {
            fprintf(stderr, "%s/%s: %s\n", argv[1], entry->d_name,
                    errno ? strerror(errno) : "refused by the fuzz target");
            closedir(dir);
            return 1;
        }
        files++;
    }
    closedir(dir);
    printf("%u files\n", files);
    return files ? 0 : 1;
}
