/* Asks a STUN server, and says how long each answer took.
 *
 * asker SOURCE SERVER
 *
 * For each line that it reads, a new socket sends two Binding Requests, the second one when the first is answered. It
 * prints how many nanoseconds each answer took, `nan` if none came within a second, and the type of the first
 * answer: 0101 is the server's success, 0111 a refusal.
 */
#include <arpa/inet.h>
#include <math.h>
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

/* Nanoseconds until the answer, which is put into `answer`. */
static double asked(int it, unsigned char *answer)
{
    /* RFC 8489 §5: a Binding Request without attributes. */
    unsigned char request[20] = { 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42 };
    double start;

    for (int i = 8; i < 20; i++)
        request[i] = rand();
    start = now();
    send(it, request, sizeof request, 0);
    if (recv(it, answer, 2048, 0) < 20)
        return NAN;
    return now() - start;
}

int main(int count, char **given)
{
    struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(3478) };
    struct timeval patience = { .tv_sec = 1 };
    static unsigned char answer[2048], other[2048];
    char line[16];

    if (count != 3)
        return 2;
    inet_pton(AF_INET, given[2], &server.sin_addr);
    while (fgets(line, sizeof line, stdin)) {
        struct sockaddr_in own = { .sin_family = AF_INET };
        int it = socket(AF_INET, SOCK_DGRAM, 0);
        double first, next;

        inet_pton(AF_INET, given[1], &own.sin_addr);
        setsockopt(it, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (bind(it, (struct sockaddr *)&own, sizeof own) || connect(it, (struct sockaddr *)&server, sizeof server)) {
            perror("asker");
            return 1;
        }
        memset(answer, 0, 2);
        first = asked(it, answer);
        next = asked(it, other);
        printf("%.0f %.0f %02x%02x\n", first, next, answer[0], answer[1]);
        fflush(stdout);
        close(it);
    }
}
