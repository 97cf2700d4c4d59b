/* Sends packets that are not STUN, and says what one takes.
 *
 * sender udp|tcp|raw SOURCE SERVER SIZE BLOCKS
 *   raw     segments of a TCP connection, by a raw socket: they need no acknowledgement, and all are the same
 *   SOURCE  the address to bind to, "" for none
 *   SIZE    bytes of payload
 *
 * It first makes the server answer, as that makes the flow an established one to connection tracking. For each line
 * that it reads it sends BLOCKS times PACKETS packets, and prints the nanoseconds a packet of the fastest block: one
 * that nothing interrupted. `inf`: in none of them each packet was a segment of its own. It ends if a packet cannot be
 * sent, as when a firewall drops it.
 */
#include <arpa/inet.h>
#include <linux/tcp.h>
#include <math.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { PACKETS = 50 };

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

/* How many segments a TCP connection has sent: less than the sends if the kernel has joined some of them. */
static long segments(int it)
{
    struct tcp_info info = { 0 };
    socklen_t size = sizeof info;

    return getsockopt(it, IPPROTO_TCP, TCP_INFO, &info, &size) ? 0 : info.tcpi_segs_out;
}

/* Puts an address of the family, or any if there is none, into `it`. */
static void put(struct sockaddr_in6 *it, int family, const char *text, int port)
{
    struct sockaddr_in *four = (void *)it;

    it->sin6_family = family;
    it->sin6_port = htons(port);
    if (*text)
        inet_pton(family, text, family == AF_INET ? (void *)&four->sin_addr : (void *)&it->sin6_addr);
}

/* A raw socket for an open connection, with its next segment in `packet`; returns its length. */
static int raw(int *it, char *packet, int size)
{
    struct iphdr *ip = (void *)packet;
    struct tcphdr *tcp = (void *)(packet + sizeof *ip);
    struct sockaddr_in own, server;
    socklen_t length = sizeof own, four = sizeof(unsigned);
    unsigned numbers[TCP_QUEUES_NR];
    int on = 1;

    size += sizeof *ip + sizeof *tcp;
    getsockname(*it, (struct sockaddr *)&own, &length);
    getpeername(*it, (struct sockaddr *)&server, &length);
    setsockopt(*it, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on);
    for (int queue = TCP_RECV_QUEUE; queue <= TCP_SEND_QUEUE; queue++) {
        setsockopt(*it, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue);
        if (getsockopt(*it, IPPROTO_TCP, TCP_QUEUE_SEQ, &numbers[queue], &four))
            return -1;
    }
    *ip = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP,
                          .saddr = own.sin_addr.s_addr, .daddr = server.sin_addr.s_addr };
    *tcp = (struct tcphdr){ .source = own.sin_port, .dest = server.sin_port, .doff = 5, .ack = 1, .psh = 1,
                            .seq = htonl(numbers[TCP_SEND_QUEUE]), .ack_seq = htonl(numbers[TCP_RECV_QUEUE]),
                            .window = htons(500) };
    *it = socket(AF_INET, SOCK_RAW, IPPROTO_RAW); /* the connection stays open */
    return connect(*it, (struct sockaddr *)&server, sizeof server) ? -1 : size;
}

int main(int count, char **given)
{
    struct sockaddr_in6 own = { 0 }, server = { 0 };
    static char payload[2048], line[16];
    int tcp, udp, family, size, blocks, one = 1, it;
    struct timeval patience = { .tv_sec = 5 };

    if (count != 6)
        return 2;
    tcp = !strcmp(given[1], "tcp"), udp = !strcmp(given[1], "udp"), size = atoi(given[4]), blocks = atoi(given[5]);
    family = strchr(given[3], ':') ? AF_INET6 : AF_INET;
    put(&own, family, given[2], 0);
    put(&server, family, given[3], 9);
    it = socket(family, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
    setsockopt(it, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (tcp)
        setsockopt(it, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(it, (struct sockaddr *)&own, sizeof own) || connect(it, (struct sockaddr *)&server, sizeof server)) {
        perror("sender");
        return 1;
    }
    memset(payload, 0x80, sizeof payload);
    if (udp && (send(it, payload, 2, 0) != 2 || recv(it, payload, sizeof payload, 0) != 2)) {
        perror("sender: no answer");
        return 1;
    }
    if (!tcp && !udp && (size = raw(&it, payload, size)) < 0) {
        perror("sender: no raw socket");
        return 1;
    }
    while (fgets(line, sizeof line, stdin)) {
        double fastest = INFINITY;

        for (int block = 0; block < blocks; block++) {
            long before = tcp ? segments(it) : 0;
            double took = now();

            for (int i = 0; i < PACKETS; i++)
                if (send(it, payload, size, 0) != size) {
                    perror("sender: not sent");
                    return 1;
                }
            took = (now() - took) / PACKETS;
            if (took < fastest && (!tcp || segments(it) - before >= PACKETS))
                fastest = took;
        }
        printf("%.1f\n", fastest);
        fflush(stdout);
    }
}
