"""problems.py: one problem a part, and a log line for each change."""

from typing import Any

from stunwall.daemon.problems import Problems


class Journal:
    """What was logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def error(self, text: str) -> None:
        self.lines.append(("error", text))

    def notice(self, text: str) -> None:
        self.lines.append(("notice", text))


def test_a_problem_is_logged_when_it_comes_when_it_changes_and_when_it_goes() -> None:
    journal: Any = Journal()
    problems = Problems(journal)
    assert not problems
    for text in ("full", "full", "read-only", "", ""):
        problems.report("record", text)
        assert problems.texts == ([text] if text else [])
    assert journal.lines == [("error", "full"), ("error", "read-only"), ("notice", "recovered: read-only")]
    assert not problems


def test_parts_have_problems_of_their_own() -> None:
    journal: Any = Journal()
    problems = Problems(journal)
    problems.report("record", "full")
    problems.report("links", "unreadable")
    problems.report("record", "")
    assert problems.texts == ["unreadable"]
    assert problems
