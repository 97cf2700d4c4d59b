"""What is wrong with the daemon right now, by part."""

from stunwall.daemon.journal import Journal


class Problems:
    """Holds one problem a part, and logs each change."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._by_part: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._by_part)

    @property
    def texts(self) -> list[str]:
        """The problems, for `status`."""
        return list(self._by_part.values())

    def report(self, part: str, text: str) -> None:
        """Set what is wrong with a part, "" if nothing."""
        if text == self._by_part.get(part, ""):
            return
        if text:
            self._by_part[part] = text
            self._journal.error(text)
        else:
            self._journal.notice(f"recovered: {self._by_part.pop(part)}")
