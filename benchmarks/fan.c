/* A host in C that sends one constant event to many plugins at once: the floor of a fan-out.
 *
 *   fan --socket PATH --event JSON --plugins N
 *
 * It accepts N plugins, acknowledges their handshakes, and then reads commands of one line from
 * standard input: `IN_FLIGHT EVENTS`, of which the first is always 1 here. For each it sends that
 * many events to every plugin, one after the other: the next one once all have answered the one
 * before. It prints how many nanoseconds that took. Linux only.
 */
#include "wire.h"

#include <sys/epoll.h>

enum { PLUGIN_BYTES = 1 << 12, READY = 256 };

static int64_t run(struct stream *plugins, int count, int ready, const unsigned char *frame,
                   size_t frame_bytes, long events) {
    int64_t began = now_ns();
    struct epoll_event found[READY];
    for (long event = 0; event < events; event++) {
        for (int i = 0; i < count; i++)
            if (!send_all(plugins[i].fd, frame, frame_bytes)) die("write");
        for (int answered = 0; answered < count;) {
            int n = epoll_wait(ready, found, READY, -1);
            if (n < 0 && errno != EINTR) die("epoll_wait");
            for (int i = 0; i < n; i++) {
                long frames = read_frames(found[i].data.ptr);
                if (frames < 0) die("read");
                answered += (int)frames;
            }
        }
    }
    return now_ns() - began;
}

int main(int argc, char **argv) {
    const char *path = NULL, *event = NULL;
    int count = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--socket")) path = argv[i + 1];
        if (!strcmp(argv[i], "--event")) event = argv[i + 1];
        if (!strcmp(argv[i], "--plugins")) count = atoi(argv[i + 1]);
    }
    if (!path || !event || count < 1) return fprintf(stderr, "usage: fan --socket PATH …\n"), 2;
    setvbuf(stdout, NULL, _IOLBF, 0);

    int listener = listen_at(path, count), ready = epoll_create1(0);
    struct stream *plugins = calloc((size_t)count, sizeof *plugins);
    if (!plugins) die("calloc");
    for (int i = 0; i < count; i++) {
        open_stream(&plugins[i], accept(listener, NULL, NULL), PLUGIN_BYTES);
        accept_handshake(&plugins[i]);
        struct epoll_event readable = {.events = EPOLLIN, .data.ptr = &plugins[i]};
        if (epoll_ctl(ready, EPOLL_CTL_ADD, plugins[i].fd, &readable) < 0) die("epoll_ctl");
    }
    size_t frame_bytes;
    unsigned char *frame = repeat_frame(event, 1, &frame_bytes);
    long in_flight, events;
    while (scanf("%ld %ld", &in_flight, &events) == 2)
        printf("%lld\n", (long long)run(plugins, count, ready, frame, frame_bytes, events));
    return 0;
}
