"""The least that a Python program at a queue can do: it accepts every packet. python listener.py QUEUE

It prints `listening` when it does.
"""

import sys

from netfilterqueue import NetfilterQueue


def main() -> None:
    queue = NetfilterQueue()
    queue.bind(int(sys.argv[1]), lambda packet: packet.accept())
    print("listening", flush=True)
    queue.run()


if __name__ == "__main__":
    main()
