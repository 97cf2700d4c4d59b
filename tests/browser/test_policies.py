"""`stunwall browsers` with real browsers: what it writes changes what a page sees, and can be taken back."""

import json
from collections.abc import Iterator
from socket import AF_INET

import pytest

from browser.etc import Etc
from browser.gather import Gathered, gather
from browser.program import BROWSERS, Browser
from lab.addresses import FAMILIES, REAL, VPN_SERVER
from lab.leaks import SOURCE_RULE
from lab.observe import NO_LEAK
from lab.topology import Lab


@pytest.fixture
def leaking(lab: Lab) -> Iterator[Lab]:
    """The lab with a rule by which a socket bound to the physical address bypasses the VPN; no stunwall runs."""
    with SOURCE_RULE.made(lab, *FAMILIES):
        yield lab


def tree(etc: Etc) -> dict[str, str]:
    """Every file of the copy, and every folder."""
    return {
        str(each): each.read_text(errors="replace") if each.is_file() else ""
        for each in etc.folder.rglob("*")
    }


def seen(lab: Lab, browser: Browser, etc: Etc, microphone: bool = True) -> Gathered:
    return gather(lab, browser, microphone, inside=etc.command)


@pytest.mark.parametrize("browser", BROWSERS)
def test_the_recommended_level_shows_only_the_vpns_address_and_reset_takes_it_back(
    leaking: Lab, etc: Etc, browser: Browser
) -> None:
    before = tree(etc)
    assert REAL[AF_INET] in seen(leaking, browser, etc).addresses("srflx"), NO_LEAK

    etc.browsers("set", "default_public_interface_only", "--browser", browser)
    for microphone in (False, True):
        limited = seen(leaking, browser, etc, microphone)
        assert limited.addresses("srflx") == set(VPN_SERVER.values())
        assert not limited.addresses("host")
    assert {row["level"] for row in audit(etc) if row["browser"] == browser} == {
        "default_public_interface_only"
    }

    if browser == "chromium":
        etc.browsers("site", "allow", "http://127.0.0.1/call", "--browser", browser)
        assert REAL[AF_INET] in seen(leaking, browser, etc).addresses("srflx")
    else:
        assert "has no exception for a site" in etc.browsers(
            "site", "allow", "http://127.0.0.1", "--browser", browser
        )
        assert not seen(leaking, browser, etc).addresses("host")

    etc.browsers("reset")
    assert tree(etc) == before
    assert REAL[AF_INET] in seen(leaking, browser, etc).addresses("srflx")


def audit(etc: Etc) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(etc.browsers("--json"))["browsers"]
    return rows
