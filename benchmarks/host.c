/* A host in C that sends one constant event: the floor under every other host.
 *
 *   host --socket PATH --event JSON
 *
 * It accepts one plugin, acknowledges its handshake, and then reads commands of one line from
 * standard input: `IN_FLIGHT EVENTS`. For each it sends that many events, never more than so many
 * at a time, and prints how many nanoseconds passed until the last answer. It looks at no answer's
 * content; what is left is the kernel and two context switches.
 */
#include "wire.h"

enum { MAX_IN_FLIGHT = 1024 };

static int64_t run(struct stream *s, const unsigned char *out, size_t frame_bytes, long in_flight,
                   long events) {
    int64_t began = now_ns();
    long sent = 0, answered = 0;
    while (answered < events) {
        long room = in_flight - (sent - answered);
        if (room > events - sent) room = events - sent;
        if (!send_all(s->fd, out, (size_t)room * frame_bytes)) die("write");
        sent += room;
        long frames = read_frames(s);
        if (frames < 0) die("read");
        answered += frames;
    }
    return now_ns() - began;
}

int main(int argc, char **argv) {
    const char *path = NULL, *event = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--socket")) path = argv[i + 1];
        if (!strcmp(argv[i], "--event")) event = argv[i + 1];
    }
    if (!path || !event) return fprintf(stderr, "usage: host --socket PATH --event JSON\n"), 2;
    setvbuf(stdout, NULL, _IOLBF, 0);

    int listener = listen_at(path, 1);
    struct stream plugin;
    open_stream(&plugin, accept(listener, NULL, NULL), READ_BYTES);
    accept_handshake(&plugin);
    size_t frame_bytes;
    unsigned char *out = repeat_frame(event, MAX_IN_FLIGHT, &frame_bytes);
    long in_flight, events;
    while (scanf("%ld %ld", &in_flight, &events) == 2) {
        if (in_flight < 1 || in_flight > MAX_IN_FLIGHT) return 2;
        printf("%lld\n", (long long)run(&plugin, out, frame_bytes, in_flight, events));
    }
    return 0;
}
