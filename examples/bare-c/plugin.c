/* The protocol needs no SDK. A frame is a length (four bytes, big-endian) and that many bytes of
 * JSON. The plugin speaks first; after that it answers every event with exactly one frame. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static void say(FILE *host, const char *json) {
    uint32_t length = htonl((uint32_t)strlen(json));
    fwrite(&length, sizeof length, 1, host);
    fputs(json, host);
    fflush(host);
}

/* Read one frame and forget it. Returns 0 when the host has disconnected. */
static int hear(FILE *host) {
    uint32_t length;
    if (fread(&length, sizeof length, 1, host) != 1)
        return 0;
    for (length = ntohl(length); length > 0; length--)
        if (getc(host) == EOF)
            return 0;
    return 1;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* do not crash if the host disconnects while we write */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    for (int i = 1; i + 1 < argc; i++) /* there may also be --debug and --log-level LEVEL */
        if (strcmp(argv[i], "--socket") == 0)
            snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[i + 1]);

    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("bare-c: cannot connect to the host's --socket");
        return EXIT_FAILURE;
    }
    /* One stream per direction: a stream must not switch from reading to writing on its own. */
    FILE *in = fdopen(fd, "rb"), *out = fdopen(fd, "wb");
    if (in == NULL || out == NULL)
        return EXIT_FAILURE;
    say(out, "{\"type\":\"handshake\",\"plugin_no\":\"wk.plugin.bare-c\",\"version\":\"0.1.0\","
             "\"priority\":0,\"capabilities\":[\"message\"]}");
    if (!hear(in)) /* the acknowledgement; a host that refuses closes the connection */
        return EXIT_FAILURE;
    while (hear(in))
        say(out, "{\"status\":\"ok\"}");
    return EXIT_SUCCESS; /* the host has disconnected, so its plugin ends too */
}
