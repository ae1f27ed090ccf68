/* A bare peer: it sends every message of a fixed size, or its beginning, back. It knows no frames.
 *
 *   reflect --socket PATH --size BYTES --back BYTES
 */
#include "wire.h"

int main(int argc, char **argv) {
    const char *path = NULL;
    size_t size = 0, back = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--socket")) path = argv[i + 1];
        if (!strcmp(argv[i], "--size")) size = (size_t)atol(argv[i + 1]);
        if (!strcmp(argv[i], "--back")) back = (size_t)atol(argv[i + 1]);
    }
    if (!path || !size || back > size) return fprintf(stderr, "usage: reflect --socket PATH --size BYTES\n"), 2;
    int fd = connect_to(path);
    unsigned char *buffer = malloc(size);
    if (!buffer) die("malloc");
    for (;;) {
        for (size_t have = 0; have < size;) {
            ssize_t got = read(fd, buffer + have, size - have);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) return 0;
            have += (size_t)got;
        }
        if (!send_all(fd, buffer, back)) return 0;
    }
}
