"""cli/: records that are hostile, damaged or missing."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from stunwall.model import Event
from stunwall.record.schema import FILE
from unit.build import packet
from unit.cli.command import HOSTILE, Stunwall
from unit.recorded import event, record, sql
from vectors.programs import attribute, message


def test_no_text_in_the_record_can_control_the_terminal(folder: Path, stunwall: Stunwall) -> None:
    columns = ("verdict", "reason", "protocol", "method", "transport", "source", "destination", "interface")
    raw = packet("udp", message(0x0001, attribute(0x0006, HOSTILE.encode())))
    record(folder, replace(event(), packet=raw))
    quoted = "CAST(x'" + HOSTILE.encode().hex() + "' AS TEXT)"
    sql(folder, "UPDATE events SET " + ", ".join(f"{column} = {quoted}" for column in columns))
    for arguments in (["log"], ["show", "1"], ["log", "--json"], ["show", "1", "--json"]):
        result = stunwall(*arguments)
        assert (result.code, result.err) == (0, "")
        assert all(line.isprintable() for line in result.out.split("\n"))
        assert "owned" in result.out
    assert len(stunwall("log").out.splitlines()) == 2


@pytest.mark.parametrize("column", [field.name for field in fields(Event)])
@pytest.mark.parametrize("value", ["x'00'", "'text'", "-1", "1e999"])
def test_a_damaged_record_is_a_one_line_error(
    folder: Path, stunwall: Stunwall, column: str, value: str
) -> None:
    record(folder, event())
    sql(folder, f"UPDATE events SET {column} = {value}")
    for arguments in (["log"], ["log", "--json"], ["show", "1", "--json"]):
        result = stunwall(*arguments)
        assert result.code in (0, 1)
        assert (result.code == 0) is (result.err == "")
        if result.code:
            assert result.err == f"stunwall: {folder / FILE}: event 1 is damaged ({column})\n"


@pytest.mark.parametrize("arguments", [["log"], ["show", "1"], ["stats"], ["export"]])
@pytest.mark.parametrize("content", [None, b"garbage" * 999, b""])
def test_a_missing_or_unreadable_record_is_exit_code_1(
    folder: Path, stunwall: Stunwall, arguments: list[str], content: bytes | None
) -> None:
    if content is not None:
        (folder / FILE).write_bytes(content)
    result = stunwall(*arguments)
    assert (result.code, result.out) == (1, "")
    assert re.fullmatch(r"stunwall: (there is no record yet|cannot read) .*\n", result.err)
