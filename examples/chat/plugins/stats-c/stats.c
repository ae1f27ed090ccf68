/* The statistics of the chat for machines without cargo. As in examples/bare-c, there is no SDK and
 * no JSON library: the host writes an event's name first, so the beginning of a frame tells which
 * event it is. It counts the same as the one in Rust, except who said most. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char HANDSHAKE[] =
    "{\"type\":\"handshake\",\"plugin_no\":\"wk.plugin.stats\",\"version\":\"1.0.0\","
    "\"priority\":0,\"capabilities\":[\"message.incoming\",\"user.online\",\"user.offline\"]}";

static unsigned long messages, joined, left;

static void say(FILE *host, const char *json) {
    uint32_t length = htonl((uint32_t)strlen(json));
    fwrite(&length, sizeof length, 1, host);
    fputs(json, host);
    fflush(host);
}

/* Read one frame and keep its beginning. Returns 0 when the host has disconnected. */
static int hear(FILE *host, char *beginning, size_t size) {
    uint32_t length;
    if (fread(&length, sizeof length, 1, host) != 1)
        return 0;
    length = ntohl(length);
    for (uint32_t i = 0; i < length; i++) {
        int c = getc(host);
        if (c == EOF)
            return 0;
        if (i < size - 1)
            beginning[i] = (char)c;
    }
    beginning[length < size - 1 ? length : size - 1] = '\0';
    return 1;
}

static int is(const char *frame, const char *event) {
    char beginning[64];
    snprintf(beginning, sizeof beginning, "{\"event\":\"%s\"", event);
    return strncmp(frame, beginning, strlen(beginning)) == 0;
}

static void tell(FILE *host) {
    char answer[160];
    snprintf(answer, sizeof answer,
             "{\"status\":\"ok\",\"data\":{\"messages\":%lu,\"joined\":%lu,\"left\":%lu}}",
             messages, joined, left);
    say(host, answer);
}

static void answer(FILE *host, const char *frame) {
    messages += is(frame, "message.incoming");
    joined += is(frame, "user.online");
    left += is(frame, "user.offline");
    if (is(frame, "stats.get"))
        tell(host);
    else
        say(host, "{\"status\":\"ok\"}");
}

static int connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    perror("stats: cannot connect to the host's --socket");
    exit(EXIT_FAILURE);
}

int main(int argc, char **argv) {
    const char *path = "";
    signal(SIGPIPE, SIG_IGN); /* do not crash if the host disconnects while we write */
    for (int i = 1; i + 1 < argc; i++) /* there may also be --debug and --log-level LEVEL */
        if (strcmp(argv[i], "--socket") == 0)
            path = argv[i + 1];
    int fd = connect_to(path);
    FILE *in = fdopen(fd, "rb"), *out = fdopen(fd, "wb");
    char frame[64];
    if (in == NULL || out == NULL)
        return EXIT_FAILURE;
    say(out, HANDSHAKE);
    if (!hear(in, frame, sizeof frame)) /* a host that refuses closes the connection */
        return EXIT_FAILURE;
    while (hear(in, frame, sizeof frame))
        answer(out, frame);
    return EXIT_SUCCESS;
}
