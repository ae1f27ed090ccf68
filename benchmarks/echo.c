/* A plugin in C that answers every event with a constant: the fastest peer there is.
 *
 *   echo --socket PATH [--name NAME] [--capabilities JSON] [--reflect 1]
 *
 * It shakes hands, then answers a whole read's worth of frames with one write, so that what a
 * benchmark measures is the host. A constant answer needs no JSON here. With --reflect the answer
 * is the event's own payload.
 */
#define _GNU_SOURCE /* memmem */
#include "wire.h"

static const char ANSWER[] = "{\"status\":\"ok\",\"data\":{\"type\":1}}";
static const char ENVELOPE[] = "{\"status\":\"ok\",\"data\":";
static const char KEY[] = "\"payload\":";

/* Write an answer that holds the payload of an event, which is the last of its keys. */
static size_t reflect(unsigned char *out, const unsigned char *event, size_t n) {
    const unsigned char *payload = memmem(event, n, KEY, strlen(KEY));
    if (!payload) exit(1);
    payload += strlen(KEY);
    size_t size = n - (size_t)(payload - event); /* with the event's closing brace */
    put_length(out, (uint32_t)(strlen(ENVELOPE) + size));
    memcpy(out + HEADER, ENVELOPE, strlen(ENVELOPE));
    memcpy(out + HEADER + strlen(ENVELOPE), payload, size);
    return HEADER + strlen(ENVELOPE) + size;
}

static size_t answer(unsigned char *out) {
    put_length(out, (uint32_t)strlen(ANSWER));
    memcpy(out + HEADER, ANSWER, strlen(ANSWER));
    return HEADER + strlen(ANSWER);
}

int main(int argc, char **argv) {
    const char *path = NULL, *name = "echo", *capabilities = "[\"*\"]";
    int reflects = 0;
    for (int i = 1; i + 1 < argc; i++) {
        if (!strcmp(argv[i], "--socket")) path = argv[++i];
        else if (!strcmp(argv[i], "--name")) name = argv[++i];
        else if (!strcmp(argv[i], "--capabilities")) capabilities = argv[++i];
        else if (!strcmp(argv[i], "--reflect")) reflects = atoi(argv[++i]);
    }
    if (!path) return fprintf(stderr, "usage: echo --socket PATH [--name NAME]\n"), 2;
    if (getenv("VCONNECT_PLUGIN_NAME")) name = getenv("VCONNECT_PLUGIN_NAME");

    int fd = connect_to(path);
    shake_hands_as(fd, name, capabilities);
    /* An answer is never longer than the shortest event is, times eight. */
    size_t size = reflects ? 4 << 20 : READ_BYTES, have = 0;
    unsigned char *in = malloc(size), *out = malloc(size * 8);
    if (!in || !out) die("malloc");
    int greeted = 0; /* the first frame acknowledges the handshake */
    for (;;) {
        ssize_t got = read(fd, in + have, size - have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0; /* the host is gone */
        have += (size_t)got;
        size_t at = 0, filled = 0;
        while (have - at >= HEADER) {
            uint32_t n = get_length(in + at);
            if (have - at - HEADER < n) {
                if (n + HEADER > size) in = realloc(in, size = n + HEADER);
                break;
            }
            const unsigned char *event = in + at + HEADER;
            at += HEADER + n;
            if (!greeted++) continue;
            filled += reflects ? reflect(out + filled, event, n) : answer(out + filled);
        }
        memmove(in, in + at, have -= at);
        if (filled && !send_all(fd, out, filled)) return 0;
    }
}
