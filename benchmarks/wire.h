/* What the programs share: frames on a Unix socket, as vconnect's wire has them. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 4, READ_BYTES = 1 << 18 };

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline uint32_t get_length(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put_length(unsigned char *p, uint32_t n) {
    p[0] = n >> 24, p[1] = n >> 16, p[2] = n >> 8, p[3] = n;
}

/* Returns 0 once the peer is gone. */
static inline int send_all(int fd, const unsigned char *p, size_t n) {
    while (n) {
        ssize_t sent = write(fd, p, n);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return 0;
        p += sent, n -= (size_t)sent;
    }
    return 1;
}

static inline int send_text(int fd, const char *text) {
    unsigned char frame[1024];
    uint32_t n = (uint32_t)strlen(text);
    put_length(frame, n);
    memcpy(frame + HEADER, text, n);
    return send_all(fd, frame, HEADER + n);
}

/* The same frame over and over, as many as may ever leave in one write. */
static inline unsigned char *repeat_frame(const char *text, size_t times, size_t *frame_bytes) {
    uint32_t n = (uint32_t)strlen(text);
    *frame_bytes = HEADER + n;
    unsigned char *out = malloc(*frame_bytes * times);
    if (!out) die("malloc");
    for (size_t i = 0; i < times; i++) {
        put_length(out + i * *frame_bytes, n);
        memcpy(out + i * *frame_bytes + HEADER, text, n);
    }
    return out;
}

static inline struct sockaddr_un address_of(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return address;
}

static inline int listen_at(const char *path, int backlog) {
    struct sockaddr_un address = address_of(path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) die(path);
    if (listen(listener, backlog) < 0) die("listen");
    puts("listening");
    return listener;
}

static inline int connect_to(const char *path) {
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die(path);
    return fd;
}

static inline void shake_hands_as(int fd, const char *name, const char *capabilities) {
    char hello[512];
    snprintf(hello, sizeof hello,
             "{\"name\":\"%s\",\"version\":\"1\",\"priority\":0,\"capabilities\":%s}", name,
             capabilities);
    if (!send_text(fd, hello)) exit(0);
}

static inline int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* A connection and what was read of frames that are not whole yet. */
struct stream {
    int fd;
    size_t have, size;
    unsigned char *in;
};

static inline void open_stream(struct stream *s, int fd, size_t size) {
    *s = (struct stream){.fd = fd, .size = size, .in = malloc(size)};
    if (!s->in) die("malloc");
}

/* Read once; return how many whole frames that completed, or -1 once the peer is gone. */
static inline long read_frames(struct stream *s) {
    ssize_t got = read(s->fd, s->in + s->have, s->size - s->have);
    if (got < 0 && errno == EINTR) return 0;
    if (got <= 0) return -1;
    s->have += (size_t)got;
    size_t at = 0;
    long frames = 0;
    while (s->have - at >= HEADER && s->have - at - HEADER >= get_length(s->in + at)) {
        at += HEADER + get_length(s->in + at);
        frames++;
    }
    memmove(s->in, s->in + at, s->have -= at);
    return frames;
}

/* As a host: take the handshake and acknowledge it. */
static inline void accept_handshake(struct stream *s) {
    long frames;
    while ((frames = read_frames(s)) == 0) continue;
    if (frames < 0 || !send_text(s->fd, "{\"status\":\"ok\",\"config\":{}}")) die("handshake");
}
