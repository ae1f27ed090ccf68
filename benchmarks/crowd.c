/* Many plugins in one process, each with a connection of its own: for hosts with a thousand.
 *
 *   crowd --socket PATH --plugins N [--prefix NAME] [--capabilities JSON]
 *
 * They are called NAME0, NAME1 and so on, and answer every event with a constant. Linux only.
 */
#include "wire.h"

#include <sys/epoll.h>
#include <sys/resource.h>

enum { PLUGIN_BYTES = 1 << 12, READY = 256, AT_ONCE = 64 };
static const char ANSWER[] = "{\"status\":\"ok\",\"data\":{\"type\":1}}";

static void allow_files(rlim_t wanted) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= wanted) return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv) {
    const char *path = NULL, *prefix = "echo-", *capabilities = "[\"*\"]";
    int count = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--socket")) path = argv[i + 1];
        if (!strcmp(argv[i], "--plugins")) count = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--prefix")) prefix = argv[i + 1];
        if (!strcmp(argv[i], "--capabilities")) capabilities = argv[i + 1];
    }
    if (!path || count < 1) return fprintf(stderr, "usage: crowd --socket PATH --plugins N\n"), 2;
    allow_files((rlim_t)count + 64);

    int ready = epoll_create1(0);
    struct stream *plugins = calloc((size_t)count, sizeof *plugins);
    if (!plugins) die("calloc");
    for (int i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%d", prefix, i);
        open_stream(&plugins[i], connect_to(path), PLUGIN_BYTES);
        shake_hands_as(plugins[i].fd, name, capabilities);
        while (read_frames(&plugins[i]) == 0) continue; /* the acknowledgment */
        struct epoll_event readable = {.events = EPOLLIN, .data.ptr = &plugins[i]};
        if (epoll_ctl(ready, EPOLL_CTL_ADD, plugins[i].fd, &readable) < 0) die("epoll_ctl");
    }
    size_t frame_bytes;
    unsigned char *out = repeat_frame(ANSWER, AT_ONCE, &frame_bytes);
    struct epoll_event found[READY];
    for (;;) {
        int n = epoll_wait(ready, found, READY, -1);
        for (int i = 0; i < n; i++) {
            struct stream *plugin = found[i].data.ptr;
            long frames = read_frames(plugin);
            if (frames < 0 || !send_all(plugin->fd, out, (size_t)frames * frame_bytes)) return 0;
        }
    }
}
