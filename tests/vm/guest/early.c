/* Sends STUN for as long as it runs: by both IP versions, over sockets bound to nothing and to a device. In C, since at a
 * boot it has to run before an interpreter would have started.
 *
 * Each change of what the kernel says to it goes to the file that it is given as a JSON line: what is tried, the error's
 * name or "sent", the time since boot, and how often it was tried by then. A file beside it, with ".rounds" behind its
 * name, has the number of rounds so far.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* An emulated machine is some fifteen times slower than a real one: for it, this is often. Much more often would leave
 * nothing of it for what the test is about, since the daemon looks into each new flow. */
enum { PORT = 3478, ROUND_MICROSECONDS = 250000 };

/* A Binding Request, RFC 8489 section 5: type, length, magic cookie; the transaction ID is filled in. */
static unsigned char request[20] = {0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42};

struct way {
    int family;
    const char *device; /* udev renames the machine's interface while this runs: both of its names */
    const char *name;
    int said;
    long tried;
};

static struct way ways[] = {
    {AF_INET, NULL, "IPv4 unbound", -1, 0}, {AF_INET6, NULL, "IPv6 unbound", -1, 0},
    {AF_INET, "eth0", "IPv4 eth0", -1, 0},  {AF_INET6, "eth0", "IPv6 eth0", -1, 0},
    {AF_INET, "phys0", "IPv4 phys0", -1, 0}, {AF_INET6, "phys0", "IPv6 phys0", -1, 0},
};

/* Sends one request; returns 0 or the error's number. */
static int attempt(const struct way *way) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
    int failed = 0, fd = socket(way->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ssize_t sent;

    if (fd < 0)
        return errno;
    inet_pton(AF_INET, "198.51.100.3", &v4.sin_addr);
    inet_pton(AF_INET6, "2001:db8:3::3", &v6.sin6_addr);
    getrandom(request + 8, 12, GRND_NONBLOCK);
    if (way->device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, way->device, strlen(way->device)) < 0) {
        failed = errno;
    } else {
        sent = way->family == AF_INET ? sendto(fd, request, sizeof request, 0, (void *)&v4, sizeof v4)
                                      : sendto(fd, request, sizeof request, 0, (void *)&v6, sizeof v6);
        failed = sent < 0 ? errno : 0;
    }
    close(fd);
    return failed;
}

int main(int argc, char **argv) {
    FILE *outcomes, *rounds;
    char beside[256];

    if (argc != 2)
        return 2;
    snprintf(beside, sizeof beside, "%s.rounds", argv[1]);
    outcomes = fopen(argv[1], "w");
    rounds = fopen(beside, "w");
    if (!outcomes || !rounds)
        return 1;
    setlinebuf(outcomes);
    for (long round = 1;; round++) {
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            struct way *way = &ways[i];
            int failed = attempt(way);
            struct timespec now;

            way->tried++;
            if (failed == way->said)
                continue;
            way->said = failed;
            clock_gettime(CLOCK_MONOTONIC, &now);
            fprintf(outcomes, "{\"what\": \"%s\", \"outcome\": \"%s\", \"at\": %ld.%03ld, \"tried\": %ld}\n", way->name,
                    failed ? strerrorname_np(failed) : "sent", (long)now.tv_sec, now.tv_nsec / 1000000, way->tried);
        }
        rewind(rounds);
        fprintf(rounds, "%ld\n", round);
        fflush(rounds);
        usleep(ROUND_MICROSECONDS);
    }
}
