"""A program that asks STUN servers all the time by one interface: python -m bench.asking DEVICE.

For each line that it reads, it prints the milliseconds of the answers since the last one as JSON; of an answer that did
not come, PATIENCE.
"""

import json
import os
import select
import socket
import sys
import time
from contextlib import suppress
from itertools import cycle

from lab.addresses import NOBODY
from lab.messages import binding_request

SERVER = ("203.0.113.7", 3478)
PACE = 0.02  # seconds
FLOWS = 60  # that take turns, as the wall lets a flow ask once a second
PATIENCE = 0.5  # seconds until a client sends its request again (RFC 8489 §6.2.1)


def sockets(device: str) -> list[socket.socket]:
    os.seteuid(NOBODY)  # so that its flows take no one else's rows of the record
    made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(FLOWS)]
    os.seteuid(0)
    for each in made:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        each.settimeout(PATIENCE)
    return made


def asked(one: socket.socket) -> float:
    request = binding_request()
    start = time.perf_counter()
    with suppress(OSError):  # the flood filled the queue, or there is no wall: nobody answers
        one.sendto(request, SERVER)
        while one.recv(2048)[8:20] != request[8:20]:
            pass
        return min(time.perf_counter() - start, PATIENCE) * 1e3
    return PATIENCE * 1e3


def main() -> None:
    with suppress(PermissionError):  # what it waits for a processor is no one's answer
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    times: list[float] = []
    for each in cycle(sockets(sys.argv[1])):
        if select.select([sys.stdin], [], [], PACE)[0]:
            if not sys.stdin.readline():
                return
            print(json.dumps(times), flush=True)
            times.clear()
        times.append(asked(each))


if __name__ == "__main__":
    main()
