/* The least that a program at a queue does: it accepts every packet.
 *
 * listener QUEUE
 *
 * It prints `listening` when it does.
 */
#include <arpa/inet.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static int accepted(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *data, void *unused)
{
    struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);

    (void)message, (void)unused;
    return nfq_set_verdict(queue, header ? ntohl(header->packet_id) : 0, NF_ACCEPT, 0, NULL);
}

int main(int count, char **given)
{
    struct nfq_handle *handle = nfq_open();
    struct nfq_q_handle *queue;
    static char bytes[4096];
    int length;

    if (count != 2 || !handle || !(queue = nfq_create_queue(handle, atoi(given[1]), accepted, NULL)) ||
        nfq_set_mode(queue, NFQNL_COPY_PACKET, 2048) < 0) {
        perror("listener");
        return 1;
    }
    puts("listening");
    fflush(stdout);
    while ((length = recv(nfq_fd(handle), bytes, sizeof bytes, 0)) >= 0)
        nfq_handle_packet(handle, bytes, length);
    return 1;
}
