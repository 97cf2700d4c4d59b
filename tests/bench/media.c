/* Media in a flow that begins with STUN, both ways: what a call sends when the network is its only limit.
 *
 * media SOURCE SERVER PACKETS
 *
 * A Binding Request begins the flow. For each line that it reads, it sends BLOCKS times PACKETS packets of 1,200 bytes
 * that look like RTP (RFC 3550 §5.1: version 2). The server sends each of them back, and WINDOW of them are on their
 * way at a time. It prints how many Mbit/s came back in the fastest block: one that little interrupted; and the
 * address that the server has seen when the flow began.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { SIZE = 1200, WINDOW = 64, BLOCKS = 5 };

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

/* Mbit/s that come back of so many packets. */
static double sent_and_back(int it, int packets)
{
    static unsigned char media[SIZE], back[2048];
    int sent = 0, flying = 0, came = 0;
    double start = now();

    memset(media, 0x80, sizeof media);
    while (sent < packets || flying) {
        for (; sent < packets && flying < WINDOW; sent++, flying++)
            send(it, media, sizeof media, 0);
        if (recv(it, back, sizeof back, 0) == SIZE)
            came++, flying--;
        else
            flying = 0;
    }
    return came * SIZE * 8e3 / (now() - start);
}

int main(int count, char **given)
{
    static unsigned char request[20] = { 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42 }, back[2048];
    struct sockaddr_in own = { .sin_family = AF_INET }, server = { .sin_family = AF_INET, .sin_port = htons(3478) };
    struct timeval patience = { .tv_sec = 5 };
    int it = socket(AF_INET, SOCK_DGRAM, 0), packets;
    struct in_addr seen;
    char line[16];

    if (count != 4)
        return 2;
    packets = atoi(given[3]);
    inet_pton(AF_INET, *given[1] ? given[1] : "0.0.0.0", &own.sin_addr);
    inet_pton(AF_INET, given[2], &server.sin_addr);
    setsockopt(it, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (bind(it, (struct sockaddr *)&own, sizeof own) || connect(it, (struct sockaddr *)&server, sizeof server) ||
        send(it, request, sizeof request, 0) < 0 || recv(it, back, sizeof back, 0) < 20) {
        perror("media: the flow did not begin");
        return 1;
    }
    if (back[0] != 1 || back[1] != 1) {
        fputs("media: the flow was refused\n", stderr);
        return 1;
    }
    /* RFC 8489 §14.2. The server's answer has no attribute but XOR-MAPPED-ADDRESS. */
    memcpy(&seen, back + 28, 4);
    seen.s_addr ^= htonl(0x2112a442);
    /* A packet that is lost makes its place in the window free again. */
    patience = (struct timeval){ .tv_usec = 50000 };
    setsockopt(it, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while (fgets(line, sizeof line, stdin)) {
        double fastest = 0;

        for (int block = 0; block < BLOCKS; block++) {
            double rate = sent_and_back(it, packets);

            fastest = rate > fastest ? rate : fastest;
        }
        printf("%.2f %s\n", fastest, inet_ntoa(seen));
        fflush(stdout);
    }
}
