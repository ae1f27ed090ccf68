/* A host in C that sends one constant event: the floor under every other host.
 *
 *   host --socket PATH --event JSON
 *
 * It accepts one plugin, acknowledges its handshake, and then reads commands of one line from
 * standard input: `IN_FLIGHT EVENTS`. For each it sends that many events, never more than so many
 * at a time, and prints how many nanoseconds passed until the last answer. It looks at no answer's
 * content; what is left is the kernel and two context switches.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 4, READ_BYTES = 1 << 18, MAX_IN_FLIGHT = 1024 };

struct stream {
    int fd;
    size_t have;
    unsigned char in[READ_BYTES];
};

static void die(const char *what) {
    perror(what);
    exit(1);
}

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
        if (sent <= 0) die("write");
        p += sent, n -= (size_t)sent;
    }
}

/* Read once; return how many whole frames that completed. */
static long read_frames(struct stream *s) {
    ssize_t got = read(s->fd, s->in + s->have, sizeof s->in - s->have);
    if (got < 0 && errno == EINTR) return 0;
    if (got <= 0) die("read");
    s->have += (size_t)got;
    size_t at = 0;
    long frames = 0;
    while (s->have - at >= HEADER && s->have - at - HEADER >= get_length(s->in + at)) {
        at += HEADER + get_length(s->in + at);
        frames++;
    }
    s->have -= at;
    memmove(s->in, s->in + at, s->have);
    return frames;
}

/* Fill `out` with as many copies of the event as may ever leave in one write. */
static unsigned char *repeat(const char *event, size_t *frame_bytes) {
    uint32_t n = (uint32_t)strlen(event);
    *frame_bytes = HEADER + n;
    unsigned char *out = malloc(*frame_bytes * MAX_IN_FLIGHT);
    if (!out) die("malloc");
    for (size_t i = 0; i < MAX_IN_FLIGHT; i++) {
        put_length(out + i * *frame_bytes, n);
        memcpy(out + i * *frame_bytes + HEADER, event, n);
    }
    return out;
}

static int64_t run(struct stream *s, const unsigned char *out, size_t frame_bytes, long in_flight,
                   long events) {
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    long sent = 0, answered = 0;
    while (answered < events) {
        long room = in_flight - (sent - answered);
        if (room > events - sent) room = events - sent;
        send_all(s->fd, out, (size_t)room * frame_bytes);
        sent += room;
        answered += read_frames(s);
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return (ended.tv_sec - began.tv_sec) * INT64_C(1000000000) + ended.tv_nsec - began.tv_nsec;
}

static int accept_plugin(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) die(path);
    if (listen(listener, 1) < 0) die("listen");
    puts("listening");
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) die("accept");
    close(listener);
    return fd;
}

static void shake_hands(struct stream *s) {
    unsigned char frame[64];
    const char *acknowledgment = "{\"status\":\"ok\",\"config\":{}}";
    while (read_frames(s) == 0) continue;
    put_length(frame, (uint32_t)strlen(acknowledgment));
    memcpy(frame + HEADER, acknowledgment, strlen(acknowledgment));
    send_all(s->fd, frame, HEADER + strlen(acknowledgment));
}

int main(int argc, char **argv) {
    const char *path = NULL, *event = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--socket")) path = argv[i + 1];
        if (!strcmp(argv[i], "--event")) event = argv[i + 1];
    }
    if (!path || !event) return fprintf(stderr, "usage: host --socket PATH --event JSON\n"), 2;
    setvbuf(stdout, NULL, _IOLBF, 0);

    static struct stream plugin;
    plugin.fd = accept_plugin(path);
    shake_hands(&plugin);
    size_t frame_bytes;
    unsigned char *out = repeat(event, &frame_bytes);
    long in_flight, events;
    while (scanf("%ld %ld", &in_flight, &events) == 2) {
        if (in_flight < 1 || in_flight > MAX_IN_FLIGHT) return 2;
        printf("%lld\n", (long long)run(&plugin, out, frame_bytes, in_flight, events));
    }
    return 0;
}
