"""journal_socket.py: entries as a journald reads them, on a socket where one would listen."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from struct import unpack_from

import pytest

from stunwall.daemon.journal_socket import JournalSocket

HOSTILE = ["a\nPRIORITY=0", "a=b", "", "a\0b", "caf\xe9", "\udcff", "a\n\n", "x" * 5000]


class Journald:
    """Where journald would listen, and what it is sent."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(file))
        self._socket.settimeout(10)

    def close(self) -> None:
        self._socket.close()

    def entry(self) -> dict[str, str]:
        """The next entry, read as the protocol says."""
        data, fields = self._socket.recv(1 << 20), {}
        while data:
            name, _, data = data.partition(b"\n")
            (length,) = unpack_from("<Q", data)
            fields[name.decode()] = data[8 : 8 + length].decode()
            assert data[8 + length : 9 + length] == b"\n"
            data = data[9 + length :]
        return fields


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    with closing(Journald(tmp_path / "socket")) as listening:
        yield listening


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_a_value_cannot_pass_for_another_field(journald: Journald, value: str) -> None:
    with closing(JournalSocket(journald.file)) as entries:
        assert entries.send({"MESSAGE": value, "PRIORITY": "4"})
    fitting = value.encode(errors="backslashreplace").decode()
    assert journald.entry() == {"MESSAGE": fitting, "PRIORITY": "4"}


def test_where_nobody_listens_nothing_is_sent(tmp_path: Path) -> None:
    with closing(JournalSocket(tmp_path / "socket")) as entries:
        assert not entries.send({"MESSAGE": "lost"})


def test_a_journald_that_comes_later_or_again_is_found(tmp_path: Path) -> None:
    with closing(JournalSocket(tmp_path / "socket")) as entries:
        assert not entries.send({"MESSAGE": "1"})
        for text in ("2", "3"):
            with closing(Journald(tmp_path / "socket")) as listening:
                assert entries.send({"MESSAGE": text})
                assert listening.entry() == {"MESSAGE": text}
            (tmp_path / "socket").unlink()


def test_what_does_not_fit_is_not_sent(journald: Journald) -> None:
    with closing(JournalSocket(journald.file)) as entries:
        assert not entries.send({"MESSAGE": "x" * (1 << 24)})


def test_a_journald_that_does_not_read_is_not_waited_for(journald: Journald) -> None:
    with closing(JournalSocket(journald.file)) as entries:
        sent = [entries.send({"MESSAGE": "x" * 1000}) for _ in range(10_000)]
    assert sent[0]
    assert not sent[-1]
