"""Runs a command that gets EAFNOSUPPORT for every IPv6 socket, as on a machine booted with ipv6.disable=1.

    python without_ipv6.py COMMAND [ARGUMENT ...]

A seccomp filter answers for the kernel. It sees system calls and their arguments, but no memory: netlink requests
about IPv6 go through as usual.
"""

import ctypes
import os
import platform
import struct
import sys
from errno import EAFNOSUPPORT
from socket import AF_INET6

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2  # linux/prctl.h, linux/seccomp.h
RETURN_ALLOW, RETURN_ERRNO = 0x7FFF0000, 0x00050000  # linux/seccomp.h

# linux/bpf_common.h: BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K.
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
# struct seccomp_data: where the system call's number and the low half of its first argument are.
NUMBER, FIRST_ARGUMENT = 0, 16
# The number of socket(2), by architecture.
SOCKET = {"x86_64": 41, "aarch64": 198}


class Program(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def instruction(code: int, value: int, if_not_equal: int = 0) -> bytes:
    """struct sock_filter (linux/filter.h). A jump skips `if_not_equal` instructions."""
    return struct.pack("=HBBI", code, 0, if_not_equal, value)


def refuse_ipv6_sockets() -> None:
    """Installs the filter for this process and all that it starts; needs root."""
    instructions = (
        instruction(LOAD, NUMBER),
        instruction(JUMP_IF_EQUAL, SOCKET[platform.machine()], if_not_equal=3),
        instruction(LOAD, FIRST_ARGUMENT),
        instruction(JUMP_IF_EQUAL, AF_INET6, if_not_equal=1),
        instruction(RETURN, RETURN_ERRNO | EAFNOSUPPORT),
        instruction(RETURN, RETURN_ALLOW),
    )
    program = Program(len(instructions), b"".join(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"seccomp: {os.strerror(code)}")


if __name__ == "__main__":
    refuse_ipv6_sockets()
    os.execvp(sys.argv[1], sys.argv[1:])
