/* The far end: a STUN server that does nothing else, an echo, and a sink for TCP.
 *
 * server ADDRESS
 *   UDP 3478  answers Binding Requests (RFC 8489 §7.3.1: with XOR-MAPPED-ADDRESS), and sends everything else back
 *   UDP 9     sends back what comes
 *   TCP 9     reads what comes, every 20 ms, so that no sender pays for waking it up
 *
 * It prints `serving` when it does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static union { struct sockaddr any; struct sockaddr_in four; struct sockaddr_in6 six; } address;
static const unsigned char cookie[4] = { 0x21, 0x12, 0xa4, 0x42 };

static int bound(int kind, int port)
{
    int one = 1, it = socket(address.any.sa_family, kind, 0);

    address.four.sin_port = htons(port); /* in the same place of both */
    setsockopt(it, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (it < 0 || bind(it, &address.any, sizeof address)) {
        perror("server");
        exit(1);
    }
    return it;
}

/* Makes the answer of a request that came from `sender`, over IPv4, and returns its length. */
static int answer(unsigned char *message, int length, const struct sockaddr_in *sender)
{
    unsigned char from[4], port[2];

    if (length < 20 || message[0] || message[1] != 1 || memcmp(message + 4, cookie, 4))
        return length;
    memcpy(port, &sender->sin_port, 2);
    memcpy(from, &sender->sin_addr, 4);
    memcpy(message, (unsigned char[]){ 1, 1, 0, 12 }, 4);
    memcpy(message + 20, (unsigned char[]){ 0, 0x20, 0, 8, 0, 1 }, 6);
    for (int i = 0; i < 2; i++)
        message[26 + i] = port[i] ^ cookie[i];
    for (int i = 0; i < 4; i++)
        message[28 + i] = from[i] ^ cookie[i];
    return 32;
}

static void *datagrams(void *opened)
{
    int it = (int)(long)opened, length;
    unsigned char message[2048];
    struct sockaddr_in6 sender;
    socklen_t size = sizeof sender;

    while ((length = recvfrom(it, message, sizeof message, 0, (struct sockaddr *)&sender, &size)) >= 0)
        sendto(it, message, answer(message, length, (struct sockaddr_in *)&sender), 0, (struct sockaddr *)&sender, size);
    return NULL;
}

int main(int count, char **given)
{
    static char bytes[1 << 20];
    int listener, streams[64], open = 0, most = 8 << 20;
    pthread_t other;

    if (count != 2)
        return 2;
    address.any.sa_family = strchr(given[1], ':') ? AF_INET6 : AF_INET;
    if (inet_pton(AF_INET, given[1], &address.four.sin_addr) != 1 &&
        inet_pton(AF_INET6, given[1], &address.six.sin6_addr) != 1)
        return 2;
    listener = bound(SOCK_STREAM, 9);
    setsockopt(listener, SOL_SOCKET, SO_RCVBUFFORCE, &most, sizeof most);
    listen(listener, 64);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    pthread_create(&other, NULL, datagrams, (void *)(long)bound(SOCK_DGRAM, 3478));
    pthread_create(&other, NULL, datagrams, (void *)(long)bound(SOCK_DGRAM, 9));
    puts("serving");
    fflush(stdout);
    for (;; usleep(20000)) {
        int stream = open < 64 ? accept4(listener, NULL, NULL, SOCK_NONBLOCK) : -1;

        if (stream >= 0)
            streams[open++] = stream;
        for (int i = 0; i < open; i++) {
            ssize_t got;

            while ((got = recv(streams[i], bytes, sizeof bytes, 0)) > 0)
                ;
            if (!got) {
                close(streams[i]);
                streams[i--] = streams[--open];
            }
        }
    }
}
