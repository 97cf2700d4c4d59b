/* Asks a STUN server, and says how long each answer took.
 *
 * asker SOURCE SERVER
 *
 * For each line that it reads, a socket with the next port sends two Binding Requests, the second one when the first is answered. It
 * prints how many nanoseconds each answer took, a second if none came by then, and what the first answer was: `refused`,
 * the address that the server has seen, or `none`.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

/* Nanoseconds until the answer, which is put into `answer`, or until it is too late for it. */
static double asked(int it, unsigned char *answer)
{
    /* RFC 8489 §5: a Binding Request without attributes. */
    unsigned char request[20] = { 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42 };
    double start;
    int got;

    for (int i = 8; i < 20; i++)
        request[i] = rand();
    start = now();
    send(it, request, sizeof request, 0);
    do /* the answer to the request before may come late */
        got = recv(it, answer, 2048, 0);
    while (got >= 20 && memcmp(answer + 8, request + 8, 12));
    if (got < 20)
        memset(answer, 0, 2048);
    return now() - start;
}

/* What an answer is (RFC 8489 §5, §14.2). The server's has no attribute but XOR-MAPPED-ADDRESS. */
static const char *said(const unsigned char *answer)
{
    struct in_addr seen;

    if (answer[0] == 1 && answer[1] == 0x11)
        return "refused";
    if (answer[0] != 1 || answer[1] != 1)
        return "none";
    memcpy(&seen, answer + 28, 4);
    seen.s_addr ^= htonl(0x2112a442);
    return inet_ntoa(seen);
}

int main(int count, char **given)
{
    struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(3478) };
    struct timeval patience = { .tv_sec = 1 };
    static unsigned char answer[2048], other[2048];
    char line[16];
    /* A port that is used again would still be known to connection tracking, and its first request not the first. */
    unsigned short port = 10000;

    if (count != 3)
        return 2;
    inet_pton(AF_INET, given[2], &server.sin_addr);
    while (fgets(line, sizeof line, stdin)) {
        struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons(port++) };
        int it = socket(AF_INET, SOCK_DGRAM, 0);
        double first, next;

        inet_pton(AF_INET, given[1], &own.sin_addr);
        setsockopt(it, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (bind(it, (struct sockaddr *)&own, sizeof own) || connect(it, (struct sockaddr *)&server, sizeof server)) {
            perror("asker");
            return 1;
        }
        first = asked(it, answer);
        next = asked(it, other);
        printf("%.0f %.0f %s\n", first, next, said(answer));
        fflush(stdout);
        close(it);
    }
}
