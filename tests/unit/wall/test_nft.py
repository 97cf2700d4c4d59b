"""nft.py: what goes wrong with nft, and what is said about it."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stunwall.wall import nft, state, table
from stunwall.wall.nft import NftError, NftPermissionError
from unit.wall_kernel import (
    EMPTY,
    MASK,
)

pytestmark = pytest.mark.usefixtures("clear")


def test_without_rights_it_is_said_so_with_the_cure() -> None:
    table.load(EMPTY, MASK)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            state.read()
        except NftPermissionError as error:
            os.write(writer, f"{error.exit_code} {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, encoding="utf-8") as said:  # noqa: PTH123 - a descriptor
        assert said.read() == "4 only root may read or change the kernel's rules (CAP_NET_ADMIN): try sudo"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes nft a shell script."""

    def make(script: str) -> None:
        file = tmp_path / "nft"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return make


def test_a_machine_without_nft_is_told_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(nft, "SBIN", "/nowhere")
    with pytest.raises(NftError, match="install the package nftables"):
        state.read()


def test_an_nft_that_never_ends_is_given_up(
    monkeypatch: pytest.MonkeyPatch, fake: Callable[[str], None]
) -> None:
    fake("exec sleep 60")
    monkeypatch.setattr(nft, "_TIMEOUT", 0.2)
    with pytest.raises(NftError, match=r"did not finish within 0\.2 s"):
        state.read()


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("@ih", "matching the payload of TCP"),
        ("ct ", "CONFIG_NFT_CT"),
        ("limit rate", "nft_limit"),
        ("table", "CONFIG_NF_TABLES_INET"),
    ],
)
def test_a_kernel_that_lacks_a_piece_is_told_which_and_how_to_get_it(
    fake: Callable[[str], None], missing: str, words: str
) -> None:
    fake(f"if grep -q '{missing}'; then echo 'Error: hm' >&2; exit 1; fi")
    with pytest.raises(NftError, match="the kernel lacks") as caught:
        table.load(EMPTY, MASK)
    assert words in str(caught.value)
    assert "modprobe" in str(caught.value)


def test_a_failure_that_no_missing_piece_explains_is_told_in_nfts_words(fake: Callable[[str], None]) -> None:
    fake("if [ \"$1\" = -f ]; then echo 'Error: out of luck' >&2; exit 1; fi")
    with pytest.raises(NftError, match="out of luck"):
        table.load(EMPTY, MASK)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EACCES])
def test_an_nft_that_cannot_be_started_is_an_error_with_a_cure(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*command: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(
        NftError, match=f"{os.strerror(number)}. Free memory, or raise the limit on processes"
    ):
        state.read()


@pytest.mark.parametrize("printed", ["", "nftables", "[]", "{}", "null", "{", '{"nftables"'])
def test_an_nft_that_prints_no_json_is_an_error(fake: Callable[[str], None], printed: str) -> None:
    fake(f"cat <<'END'\n{printed}\nEND")
    with pytest.raises(NftError, match="nft printed something other than JSON"):
        state.read()
