"""nftables in this process, by libnftables(3).

A binding of our own: those on PyPI and in distributions (pip-nftables, oxl-libnftables, python3-nftables) are copies of
one ctypes module that hides the netlink socket, whose port tells our transactions from those of other programs.
"""

import ctypes
import errno
import json
import os
import re
import signal
import socket
import stat
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import Any

from stunwall.model import StunwallError
from stunwall.wall import modules

LIBRARY = "libnftables.so.1"
NETLINK_NETFILTER = 12  # linux/netlink.h; not in Python's socket module
# nftables/libnftables.h: how a listing is printed.
_HANDLE, _JSON, _TERSE = 1 << 3, 1 << 4, 1 << 11
_ERROR = 2  # linux/netlink.h: NLMSG_ERROR
NOT_THERE = "No such file or directory"
_FIRST_PORT = 1 << 30  # above all pids (linux/threads.h, PID_MAX_LIMIT)
_TRIES = 10  # to find a port that is free among 2^24
_OPENED = 16  # files that libnftables may open at once, while it makes a context
# asm-generic/unistd.h, the same on all architectures; linux/prctl.h
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_PR_SET_NO_NEW_PRIVS = 38
# Those that have names. With signal.valid_signals(), Python takes as long as libnftables to name the others, too.
_SIGNALS = frozenset(signal.Signals)
_RECEIVE = 1 << 16  # bytes of one netlink datagram; what is left over of a larger one is discarded


class NftError(StunwallError):
    """libnftables or the kernel refused, or the library is missing; the text names the cause and a cure."""


class NftPermissionError(NftError):
    """Reading or changing the kernel's rules needs rights that this process lacks."""

    exit_code = 4


class Nft:
    """One libnftables context, for the network namespace in which this was made. Use it in one thread.

    It keeps its netlink socket until it is closed: a table with the flag `owner` lives as long as that.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        """Load the library, and open its netlink socket. Raises NftError."""
        _check_netlink()
        self._library = _load(library)
        free = _free_descriptors()
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise NftError("libnftables could not be initialised: free some memory")
        # The same socket, not another one: what it sends comes from the same port.
        found = next(descriptor for descriptor in free if _is_netfilter(descriptor))
        self.socket = socket.socket(fileno=os.dup(found))
        self.port = _bind(self.socket)
        """The netlink port of our transactions, as in nlmsg_pid of the kernel's notifications (netlink(7))."""
        # Otherwise it prints to stdout and stderr.
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def close(self) -> None:
        """Free the context, and with it the tables that it owns."""
        self.socket.close()
        context, self._context = self._context, None
        self._library.nft_ctx_free(context)

    def apply(self, text: str) -> None:
        """Carry out nft statements in one transaction: all of them, or none. Raises NftError."""
        self._run(text)

    def refused(self, text: str) -> str | None:
        """Try a ruleset without loading it; return what was said against it, None if nothing."""
        try:
            self._run(text, dry=True)
        except NftError as error:
            return str(error)
        return None

    def list_table(self, table: str, *, handles: bool = False, terse: bool = False) -> str | None:
        """Return a table as `nft list table` prints it, with `--handle` or `--terse`, None if there is none.

        `terse` is without the elements of sets. Raises NftError.
        """
        flags = (_HANDLE if handles else 0) | (_TERSE if terse else 0)
        try:
            return self._list(f"table {table}", flags)
        except NftPermissionError:
            raise
        except NftError as error:
            if NOT_THERE in str(error):
                return None
            raise

    def list_chains(self, family: str) -> str:
        """Return the chains of a family, with their hooks and without rules. Raises NftError."""
        return self._list(f"chains {family}")

    def list_ruleset(self) -> list[dict[str, Any]]:
        """Return every table, without the elements of sets, as libnftables-json(5) has it. Raises NftError.

        A process that must not crash does this in a child: of nft's JSON, one kind of table is known to be harmful.
        """
        found: list[dict[str, Any]] = []
        text = self._list("ruleset", _TERSE)
        for family, name, flags in re.findall(
            r"^table (\S+) (\S+) \{.*(?:\n\tflags (.*))?", text, re.MULTILINE
        ):
            found.append({"table": {"family": family, "name": name}})
            if flags and "," not in flags:
                # To print such a table, nft 1.0.6, for one, uses memory that it has freed (src/json.c,
                # table_flags_json). The chains alone are harmless.
                body = text.partition(f"table {family} {name} {{")[2].partition("\n}")[0]
                for chain in re.findall(r"^\tchain (\S+) \{", body, re.MULTILINE):
                    found += self._list_json(f"chain {family} {name} {chain}")
            else:
                found += self._list_json(f"table {family} {name}")
        return found

    def _list_json(self, what: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = json.loads(self._list(what, _JSON | _TERSE))["nftables"]
        except NftPermissionError:
            raise
        except (NftError, ValueError, LookupError, TypeError) as error:
            raise NftError(
                f"nft prints no JSON ({error}): if it was built without libjansson, install the distribution's own "
                "package nftables (OpenWrt: nftables-json)"
            ) from error
        return [each for each in found if "table" not in each]

    def send(self, messages: bytes) -> None:
        """Send a batch of netlink messages by the context's socket. Raises OSError with what the kernel says.

        Each message must ask for an acknowledgement (NLM_F_ACK).
        """
        self.socket.sendto(messages, (0, 0))
        while True:
            try:
                reply = self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:  # the kernel answers before sendto() returns
                return
            # struct nlmsghdr has 16 bytes; NLMSG_ERROR, a negative error number, is an acknowledgement if that is 0
            kind, error = int.from_bytes(reply[4:6], sys.byteorder), reply[16:20]
            if kind == _ERROR and (number := -int.from_bytes(error, sys.byteorder, signed=True)):
                self._drain()
                raise OSError(number, os.strerror(number))

    def _list(self, what: str, flags: int = 0) -> str:
        return _without_folders(lambda: self._run(f"list {what}", flags))

    def _run(self, text: str, flags: int = 0, *, dry: bool = False) -> str:
        """Run nft statements; return what they printed. Raises NftError with the first complaint."""
        library, context = self._library, self._context
        if context is None:
            raise NftError("libnftables is closed already")
        library.nft_ctx_output_set_flags(context, flags)
        library.nft_ctx_set_dry_run(context, dry)
        with _no_signals(), _no_stderr():
            failed = library.nft_run_cmd_from_buffer(context, os.fsencode(text))
        # Both buffers are read, so that neither comes with the next call.
        printed: str = library.nft_ctx_get_output_buffer(context).decode(errors="replace")
        said: str = library.nft_ctx_get_error_buffer(context).decode(errors="replace")
        if not failed:
            return printed
        self._drain()
        if "Operation not permitted" in said:
            raise NftPermissionError(
                "only root may read or change the kernel's rules (CAP_NET_ADMIN): try sudo"
            )
        complaint = " ".join(said.split("\n", 1)[0].split())
        raise NftError(complaint or f"libnftables failed without a reason ({failed})")

    def _drain(self) -> None:
        """Discard replies that a call left behind when it failed: the next call would take them for its own."""
        while True:
            try:
                self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: replies were lost, and it is reported once
                continue


def _check_netlink() -> None:
    """Raise if there is no netlink socket to be had: libnftables would end the process (src/mnl.c)."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER).close()
    except OSError as error:
        raise NftError(
            f"the kernel's rules cannot be reached ({error.strerror}). This needs an open file that is free, and "
            f"nftables in the kernel (CONFIG_NF_TABLES, module nf_tables): {modules.how_to_load('nf_tables')}"
        ) from error


def _load(name: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise NftError(
            f"the library {name} is missing ({error}): install the package nftables (Debian, Ubuntu: libnftables1)"
        ) from error
    context = ctypes.c_void_p
    library.nft_ctx_new.argtypes, library.nft_ctx_new.restype = [ctypes.c_uint32], context
    library.nft_ctx_free.argtypes, library.nft_ctx_free.restype = [context], None
    library.nft_ctx_set_dry_run.argtypes = [context, ctypes.c_bool]
    library.nft_ctx_set_dry_run.restype = None
    library.nft_ctx_output_set_flags.argtypes = [context, ctypes.c_uint]
    library.nft_ctx_output_set_flags.restype = None
    library.nft_run_cmd_from_buffer.argtypes = [context, ctypes.c_char_p]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [context]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [context]
        getattr(library, name).restype = ctypes.c_char_p
    return library


def _bind(netlink: socket.socket) -> int:
    """Give a socket a netlink port, and return it.

    The kernel would give it our pid, which is what the queue's socket is to have: other programs, and our doctor, take
    the port in /proc/net/netfilter/nfnetlink_queue for a pid.
    """
    for _ in range(_TRIES):
        port = _FIRST_PORT + int.from_bytes(os.urandom(3))
        try:
            netlink.bind((port, 0))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise NftError(f"the netlink socket of libnftables got no port: {error.strerror}") from error
        else:
            return port
    raise NftError("the netlink socket of libnftables got no port: too many are in use")


def _free_descriptors() -> list[int]:
    """Return the descriptors that the next open files get: the kernel takes the lowest (open(2))."""
    free = (number for number in count() if not _is_open(number))
    return list(islice(free, _OPENED))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _is_netfilter(descriptor: int) -> bool:
    if not _is_open(descriptor) or not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return False
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        return copy.family == socket.AF_NETLINK and copy.proto == NETLINK_NETFILTER


def _without_folders(work: Callable[[], str]) -> str:
    """Return what `work` returns in a thread that can list no folder, if the kernel has Landlock.

    To print the cgroup of a rule by its name, nft looks for its number in the whole hierarchy (src/datatype.c,
    cgroupv2_get_path). Any user can make that so large that it takes seconds, and so deep that nft runs out of stack.
    Where it finds nothing it prints the number.
    """
    done: list[str | NftError] = []

    def run() -> None:
        _forbid_folders()
        try:
            done.append(work())
        except NftError as error:
            done.append(error)

    # The thread inherits that signals are held back, and ends before one arrives here.
    with _no_signals():
        thread = threading.Thread(target=run)  # without the 0.7 MiB of concurrent.futures
        thread.start()
        thread.join()
    (result,) = done
    if isinstance(result, NftError):
        raise result
    return result


def _forbid_folders() -> None:
    """Forbid this thread to open folders for reading, if the kernel has Landlock (landlock(7))."""
    library = ctypes.CDLL(None)
    # struct landlock_ruleset_attr: LANDLOCK_ACCESS_FS_READ_DIR, without a rule that allows it anywhere
    ruleset = library.syscall(_LANDLOCK_CREATE_RULESET, struct.pack("=Q", 1 << 3), ctypes.c_size_t(8), 0)
    if ruleset >= 0:
        library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        library.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Send descriptor 2 to nowhere: libxtables complains there about rules that iptables made and it cannot read."""
    try:
        before = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


@contextmanager
def _no_signals() -> Iterator[None]:
    """Hold signals back: libnftables takes an interrupted system call for a failed transaction."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
