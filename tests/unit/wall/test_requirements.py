"""A missing kernel piece is named, with the way to get it."""

import re
import subprocess

import pytest

from stunwall.wall.requirements import missing, missing_for_second_lock

REDIRECT_PROBES = ("ct direction", "type nat")
PROBES = ("notrack", "ip option", "@ih", "limit rate", "meta time", "rt ipsec")


def nft(text: str) -> str | None:
    done = subprocess.run(["nft", "--check", "-f", "-"], input=text, capture_output=True, text=True)
    return done.stderr or None


@pytest.mark.usefixtures("lab")
def test_on_this_kernel_nothing_is_missing() -> None:
    assert missing(nft, str, redirect=True) is None


@pytest.mark.usefixtures("lab")
def test_what_the_kernel_refuses_is_a_missing_piece() -> None:
    said = missing(
        lambda text: nft(text.replace("ct direction reply", "ct direction nowhere")), str, redirect=True
    )
    assert said is not None
    assert said.startswith("the kernel lacks connection tracking in nftables. It needs CONFIG_NFT_CT")


@pytest.mark.usefixtures("lab")
def test_on_this_kernel_there_is_a_second_lock() -> None:
    assert missing_for_second_lock(nft) is None


@pytest.mark.usefixtures("lab")
def test_a_kernel_without_the_egress_hook_is_told_what_it_needs() -> None:
    said = missing_for_second_lock(lambda text: nft(text.replace("hook egress", "hook nowhere")))
    assert said is not None
    assert "Linux 5.16 or newer with CONFIG_NETFILTER_EGRESS" in said


@pytest.mark.parametrize("probe", REDIRECT_PROBES)
def test_what_only_redirecting_needs_is_not_missed_in_mode_block(probe: str) -> None:
    assert missing(lambda text: "Not supported" if probe in text else None, str, redirect=False) is None


@pytest.mark.parametrize("probe", [*PROBES, *REDIRECT_PROBES])
def test_each_piece_is_told_with_its_module_and_what_nft_said(probe: str) -> None:
    refused = lambda text: "Not supported" if probe in text else None  # noqa: E731
    said = missing(refused, lambda module: f"load {module}", redirect=True)
    assert said is not None
    assert re.search(r"\(module (\w+)\): load \1\. nft said: Not supported$", said), said
