"""who.find: the process of a user that has a socket open."""

import os
import socket
import sys
from pathlib import Path

from stunwall.sockets import who


def test_a_socket_of_this_user_is_found_by_its_inode() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        inode = os.fstat(own.fileno()).st_ino
        found = who.find(inode, os.getuid())
        assert found is not None
        assert found[0] == os.getpid()
        assert Path(found[1]).samefile(sys.executable)
    assert who.find(inode, os.getuid()) is None
