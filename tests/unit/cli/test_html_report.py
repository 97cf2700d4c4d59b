"""cli/html_report.py and page.py: the page as a browser reads it, what it must not contain, and how it is written."""

import os
import re
import stat
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stunwall.doctor import checks, findings
from stunwall.model import Event
from stunwall.record.ledger import Kind
from unit.cli.command import HOSTILE, Stunwall
from unit.cli.test_exposure import ledger
from unit.cli.test_redact import OTHER, PAUSE, SECRETS, SENT, SERVER, SOURCE
from unit.recorded import event, record, sql

MARKUP = "\"><script src=//evil.example/x.js></script><img src=x onerror=alert(1)>'{{ 7*7 }}</style>&lt;"
NASTY = MARKUP + HOSTILE.replace("\0", "")
TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "section",
        "h1",
        "h2",
        "p",
        "strong",
    ),
    *(
        "figure",
        "svg",
        "desc",
        "rect",
        "div",
        "span",
        "ul",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    ),
    *("dl", "dt", "dd", "br"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "viewbox", "preserveaspectratio", "role"),
    *("aria-labelledby", "aria-hidden", "aria-label", "id", "x", "y", "width", "height", "scope", "tabindex"),
}


class Read(HTMLParser):
    """A page, as a browser reads it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags = Counter[str]()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(autouse=True)
def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take their time, and are tested elsewhere."""
    found = [findings.problem("wall", f"{SOURCE} {NASTY}", "by user 4711", NASTY), findings.ok("x", "y")]
    monkeypatch.setattr(checks, "examine", lambda file: found)


def written(folder: Path, stunwall: Stunwall, *options: str) -> str:
    file = folder / "r.html"
    result = stunwall("report", "--html", str(file), *options)
    assert (result.code, result.err) == (0, "")
    return file.read_text()


@pytest.mark.parametrize("options", [(), ("--no-redact",)])
def test_nothing_in_the_record_becomes_markup(
    folder: Path, stunwall: Stunwall, daemon: dict[str, Any], options: tuple[str, ...]
) -> None:
    names = ("verdict", "reason", "protocol", "method", "destination", "interface", "user", "unit", "app")
    for number, name in enumerate(
        ("", *names, "container", "executable", "command", "incoming", "cause_text"), 1
    ):
        nasty: dict[str, Any] = {name: NASTY} if name else {}
        record(folder, replace(event(number), **nasty))
    sql(folder, "DELETE FROM ledger")
    ledger(folder, (Kind.SEALED, "", 60), (Kind.PAUSED, NASTY, 60))
    daemon["problems"] = [NASTY]
    text = written(folder, stunwall, *options)
    page = Read(text)
    assert set(page.tags) == TAGS
    assert {name for name, _ in page.attributes} == ATTRIBUTES
    assert text.count("<script") == 0
    assert all(line.isprintable() for line in text.split("\n"))
    said = "".join(page.texts)
    assert said.count("onerror=alert(1)") >= 6
    assert "{{ 7*7 }}" in said
    assert "forged" in said


def test_it_asks_nobody_and_runs_nothing(folder: Path, stunwall: Stunwall) -> None:
    record(folder, event())
    text = written(folder, stunwall)
    page = Read(text)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    assert not {name for name, _ in page.attributes} & {"href", "src", "style", "xlink:href", "onload"}
    assert not [word for word in ("http:", "https:", "url(", "@import") if word in text]


def test_each_table_has_headers_and_the_drawing_a_title_and_a_description(
    folder: Path, stunwall: Stunwall
) -> None:
    record(folder, event())
    page = Read(written(folder, stunwall))
    assert page.tags["thead"] == page.tags["table"] > 3
    assert page.attributes.count(("scope", "col")) == page.tags["th"]
    named = dict(page.attributes)["aria-labelledby"].split()
    assert set(named) <= {value for name, value in page.attributes if name == "id"}


@pytest.fixture
def private(folder: Path, machine: None, daemon: dict[str, Any]) -> None:
    """A record and a state with everything that is private."""
    daemon |= {
        "exposures": [{"time": 1.0, "server": SERVER, "address": SOURCE}],
        "problems": [f"{SOURCE} of alice on deskhost"],
    }
    record(folder, SENT, OTHER, PAUSE)
    ledger(folder, (Kind.SEALED, "", 30), (Kind.PAUSED, "by user 4711", 30))


def test_it_is_redacted_unless_that_is_not_wanted(folder: Path, stunwall: Stunwall, private: None) -> None:
    hidden, plain = written(folder, stunwall), written(folder, stunwall, "--no-redact")
    assert [secret for secret in SECRETS if secret in hidden] == []
    for secret in ("alice", "deskhost", "bank-vm", SOURCE, SERVER, "by user 4711"):
        assert secret in plain
    assert "Not redacted" not in hidden
    assert "Not redacted" in plain


def test_it_says_whether_it_is_redacted_and_where_it_is(folder: Path, stunwall: Stunwall) -> None:
    record(folder, event())
    file = str(folder / "r.html")
    for options, said in (((), "is redacted"), (("--no-redact",), "NOT redacted")):
        out = stunwall("report", "--html", file, *options).out
        assert file in out
        assert said in out


def test_a_redacted_page_does_not_tell_the_time_zone(
    folder: Path, stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    record(folder, event())
    assert "+0545" in written(folder, stunwall, "--no-redact")
    assert "+0545" not in written(folder, stunwall)


def test_the_timeline_and_the_tables_add_up_to_the_record(folder: Path, stunwall: Stunwall) -> None:
    now = event().time
    events = [
        replace(event(n + 1, now - n * 7000), app=f"app {n % 9}", flows=1 + n % 3, count=5)
        for n in range(300)
    ]
    record(folder, *reversed(events), Event.note(now, "paused", "by root"))
    page = Read(written(folder, stunwall, "--since", "30d", "--no-redact"))
    bars = [text for text in page.texts if ": app " in text or ": others, " in text]
    assert len({text.partition(":")[0] for text in bars}) > 20
    total = sum(each.flows for each in events)
    assert sum(int(text.rpartition(" ")[2].replace(",", "")) for text in bars) == total
    by_app = Counter[str]()
    for each in events:
        by_app[each.app] += each.flows
    texts = [text for text in page.texts if text.strip()]
    table = texts[texts.index("Applications") :]
    for app, flows in by_app.items():
        at = table.index(app)
        assert table[at + 1 : at + 3] == [str(flows), f"{by_app_packets(events, app):,}"]


def by_app_packets(events: list[Event], app: str) -> int:
    return sum(each.count for each in events if each.app == app)


def test_only_the_time_asked_for_is_on_it(folder: Path, stunwall: Stunwall) -> None:
    now = event().time
    record(folder, replace(event(1, now - 90000), app="old"), replace(event(2, now), app="new"))
    page = Read(written(folder, stunwall, "--since", "2h"))
    assert "new" in page.texts
    assert "old" not in page.texts


def test_only_its_owner_can_read_it_and_it_is_written_whole_or_not_at_all(
    folder: Path, stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "r.html"
    file.write_text("old")
    file.chmod(0o666)
    record(folder, event())
    with monkeypatch.context() as patched:
        patched.setattr(os, "fchown", _full)
        patched.setenv("SUDO_UID", "1000")
        patched.setenv("SUDO_GID", "1000")
        if os.geteuid() == 0:
            result = stunwall("report", "--html", str(file))
            assert (result.code, result.err) == (
                1,
                f"stunwall: cannot write {file}: No space left on device\n",
            )
            assert file.read_text() == "old"
    written(folder, stunwall)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(each.name for each in folder.iterdir() if each.name.startswith(("tmp", "r."))) == ["r.html"]


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_who_called_sudo_can_read_it(
    folder: Path, stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.fail("this test needs root: run it by tests/run.sh unit", pytrace=False)
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setenv("SUDO_GID", "1001")
    record(folder, event())
    written(folder, stunwall)
    found = (folder / "r.html").stat()
    assert (found.st_uid, found.st_gid) == (1000, 1001)


def test_it_follows_no_symbolic_link(folder: Path, stunwall: Stunwall) -> None:
    record(folder, event())
    other = folder / "other"
    other.write_text("other")
    (folder / "r.html").symlink_to(other)
    result = stunwall("report", "--html", str(folder / "r.html"))
    assert (result.code, other.read_text()) == (1, "other")
    assert "symbolic link" in result.err


def test_a_folder_that_is_missing_and_a_record_that_is_missing_are_told(
    folder: Path, stunwall: Stunwall
) -> None:
    assert "there is no record yet" in stunwall("report", "--html", str(folder / "r.html")).err
    record(folder, event())
    result = stunwall("report", "--html", str(folder / "none" / "r.html"))
    assert result.code == 1
    assert "No such file or directory" in result.err


def test_of_many_gaps_the_newest_are_listed_and_the_others_counted(folder: Path, stunwall: Stunwall) -> None:
    ledger(folder, *((kind, f"gap {n}", 1) for n in range(120) for kind in (Kind.PAUSED, Kind.SEALED)))
    texts = Read(written(folder, stunwall)).texts
    listed = [text for text in texts if re.fullmatch(r"gap \d+", text)]
    assert listed == [f"gap {n}" for n in range(119, 19, -1)]
    assert "and 20 before; `stunwall exposure` lists all" in texts


def test_a_record_without_entries_or_ledger_has_a_page_too(folder: Path, stunwall: Stunwall) -> None:
    record(folder, Event.note(1e9, "paused", "by root"))
    sql(folder, "DROP TABLE ledger")
    assert "Nothing is known of this time." in written(folder, stunwall)
