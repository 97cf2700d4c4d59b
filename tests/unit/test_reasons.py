"""reasons.py: every recorded reason is explained, in the catalog too, which the real journalctl reads."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from stunwall import reasons
from stunwall.model import GAP, Event, Reason
from stunwall.reasons import EXPLANATIONS, Explanation
from unit.recorded import event

CATALOG = Path(__file__).parents[2] / "systemd" / "stunwall.catalog"


@pytest.mark.parametrize("noted", [GAP, "allowed", "revoked", "reloaded", "paused", "resumed"])
def test_an_event_about_no_packet_is_explained_by_its_verdict(noted: str) -> None:
    found = reasons.explanation(Event.note(1.0, noted, "for 60 s, by user 0"))
    assert found is not None
    assert found.code == noted


def test_what_a_newer_version_recorded_is_not_explained() -> None:
    assert reasons.explanation(replace(event(), verdict="later", reason="also later")) is None


def test_each_reason_has_an_id_of_its_own_that_never_changes() -> None:
    ids = [each.message_id for each in EXPLANATIONS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    known = next(each for each in EXPLANATIONS if each.code == Reason.OUTSIDE_VPN)
    assert known.message_id == "938058d17e405d7a83c44025b2da04b4"


def test_the_catalog_is_that_of_the_table() -> None:
    assert CATALOG.read_text() == reasons.catalog()


def test_the_catalog_names_only_fields_that_entries_have() -> None:
    named = set(re.findall("@STUNWALL_([A-Z_]+)@", reasons.catalog()))
    assert named <= {name.upper() for name in Event.__slots__}


@pytest.mark.parametrize("each", EXPLANATIONS, ids=lambda each: each.code)
def test_journalctl_reads_the_catalog(tmp_path: Path, each: Explanation) -> None:
    folder = tmp_path / "usr" / "lib" / "systemd" / "catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var" / "lib" / "systemd" / "catalog").mkdir(parents=True)
    (folder / CATALOG.name).write_text(CATALOG.read_text())
    journalctl = ("journalctl", f"--root={tmp_path}")
    subprocess.run([*journalctl, "--update-catalog"], check=True)
    dumped = subprocess.run(
        [*journalctl, "--dump-catalog", each.message_id], check=True, capture_output=True, text=True
    ).stdout
    assert each.title in dumped
    assert f"{each.meaning} {each.advice}" in " ".join(dumped.split())
