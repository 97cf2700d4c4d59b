/* Floods: sends Binding Requests as fast as it is told, until it is terminated. It prints `flooding`
 * after the first second's packets (100000 without a limit), and at the end how many it has sent.
 *
 * flood UID SOURCE DEVICE SOCKETS SERVERS PACKETS RATE
 *   UID      the user that the sockets belong to
 *   SOURCE   the address to bind to
 *   DEVICE   the interface to bind to, "" for none
 *   SOCKETS  how many; 0: a new one, with another port, for each packet
 *   SERVERS  how many: 198.51.100.4 and those behind it
 *   PACKETS  how many; RATE: how many a second at the most, 0 for no limit
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *source, *device;
static volatile sig_atomic_t ended;

static void end(int signal)
{
    (void)signal;
    ended = 1;
}

static int opened(void)
{
    struct sockaddr_in own = { .sin_family = AF_INET };
    int one = socket(AF_INET, SOCK_DGRAM, 0);

    inet_pton(AF_INET, source, &own.sin_addr);
    if (one < 0 || (*device && setsockopt(one, SOL_SOCKET, SO_BINDTODEVICE, device, strlen(device))) ||
        bind(one, (struct sockaddr *)&own, sizeof own)) {
        perror("flood");
        exit(1);
    }
    return one;
}

int main(int count, char **given)
{
    /* RFC 8489 §5: a Binding Request without attributes. */
    unsigned char request[20] = { 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42 };
    struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(3478) };
    int sockets, servers, all[1000];
    long packets, rate, sent;

    if (count != 8 || setuid(atoi(given[1])))
        return 2;
    source = given[2], device = given[3];
    sockets = atoi(given[4]), servers = atoi(given[5]), packets = atol(given[6]), rate = atol(given[7]);
    for (int i = 0; i < sockets; i++)
        all[i] = opened();
    signal(SIGTERM, end);
    for (sent = 0; sent < packets && !ended; sent++) {
        int one = sockets ? all[sent % sockets] : opened();

        memcpy(request + 8, &sent, sizeof sent);
        server.sin_addr.s_addr = htonl(0xc6336404 + sent % servers);
        /* What a firewall drops is EPERM. */
        sendto(one, request, sizeof request, MSG_DONTWAIT, (struct sockaddr *)&server, sizeof server);
        if (!sockets)
            close(one);
        if (rate && sent % (rate / 100) == 0)
            nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
        if (sent == (rate ? rate : 100000))
            puts("flooding"), fflush(stdout);
    }
    printf("sent %ld\n", sent);
    return 0;
}
