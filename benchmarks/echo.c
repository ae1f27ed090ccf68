/* A plugin in C that answers every event with a constant: the fastest peer there is.
 *
 *   echo --socket PATH [--name NAME] [--capabilities JSON]
 *
 * It shakes hands, then answers a whole read's worth of frames with one write, so that what a
 * benchmark measures is the host. A constant answer needs no JSON here.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char ANSWER[] = "{\"status\":\"ok\",\"data\":{\"type\":1}}";
enum { HEADER = 4, READ_BYTES = 1 << 18 };

static uint32_t get_length(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_length(unsigned char *p, uint32_t n) {
    p[0] = n >> 24, p[1] = n >> 16, p[2] = n >> 8, p[3] = n;
}

static void send_all(int fd, const unsigned char *p, size_t n) {
    while (n) {
        ssize_t sent = write(fd, p, n);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) exit(0); /* the host is gone */
        p += sent, n -= (size_t)sent;
    }
}

static void send_text(int fd, const char *text) {
    unsigned char frame[1024];
    uint32_t n = (uint32_t)strlen(text);
    put_length(frame, n);
    memcpy(frame + HEADER, text, n);
    send_all(fd, frame, HEADER + n);
}

int main(int argc, char **argv) {
    const char *path = NULL, *name = "echo", *capabilities = "[\"*\"]";
    for (int i = 1; i + 1 < argc; i++) {
        if (!strcmp(argv[i], "--socket")) path = argv[++i];
        else if (!strcmp(argv[i], "--name")) name = argv[++i];
        else if (!strcmp(argv[i], "--capabilities")) capabilities = argv[++i];
    }
    if (!path) return fprintf(stderr, "usage: echo --socket PATH [--name NAME]\n"), 2;
    if (getenv("VCONNECT_PLUGIN_NAME")) name = getenv("VCONNECT_PLUGIN_NAME");

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return perror(path), 1;

    char hello[512];
    snprintf(hello, sizeof hello,
             "{\"name\":\"%s\",\"version\":\"1\",\"priority\":0,\"capabilities\":%s}", name,
             capabilities);
    send_text(fd, hello);

    size_t size = READ_BYTES, have = 0;
    unsigned char *in = malloc(size), *out = malloc(READ_BYTES * 8);
    uint32_t answer = (uint32_t)strlen(ANSWER);
    int greeted = 0; /* the first frame acknowledges the handshake */
    for (;;) {
        ssize_t got = read(fd, in + have, size - have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        have += (size_t)got;
        size_t at = 0, filled = 0;
        while (have - at >= HEADER) {
            uint32_t n = get_length(in + at);
            if (have - at - HEADER < n) {
                if (n + HEADER > size) in = realloc(in, size = n + HEADER);
                break;
            }
            at += HEADER + n;
            if (!greeted++) continue;
            put_length(out + filled, answer);
            memcpy(out + filled + HEADER, ANSWER, answer);
            filled += HEADER + answer;
        }
        memmove(in, in + at, have -= at);
        if (filled) send_all(fd, out, filled);
    }
}
