"""Where the program of a preset runs, and the exceptions for it there. No I/O."""

from dataclasses import dataclass, fields, replace
from enum import Enum, auto
from fnmatch import fnmatchcase

from stunwall.config import NOTES, Allow, Network


class Kind(Enum):
    """What tells the kernel whose a packet is."""

    UNIT = auto()  # of the system's manager
    USER_UNIT = auto()  # of a user's manager
    APP = auto()  # a desktop application of a user


@dataclass(frozen=True, slots=True)
class Place:
    """A unit or an application, by name; `user` is whose it is, None if it is the system's or not known yet.

    The name of a template, as `syncthing@.service`, stands for its instances.
    """

    kind: Kind
    name: str
    user: int | None = None

    @property
    def is_template(self) -> bool:
        """Whether the name is that of a template, which never runs itself."""
        return self.kind is not Kind.APP and self.name.partition("@")[2].startswith(".")

    @property
    def glob(self) -> str:
        """The name as a glob, which the instances of a template fit."""
        return self.name.replace("@.", "@*.", 1) if self.is_template else self.name

    def fits(self, name: str) -> bool:
        """Whether a unit or application of this name is the place, or an instance of it."""
        return fnmatchcase(name, self.glob)

    def applied(self, rule: Allow) -> Allow:
        """Return the exception for what is sent from here alone."""
        if self.kind is Kind.APP:
            return replace(rule, app=self.name, user=self.user)
        return replace(rule, unit=self.glob, user=self.user)

    def __str__(self) -> str:
        """Return what it is called in messages."""
        return f"the application {self.name}" if self.kind is Kind.APP else self.name


def covers(wide: Allow, narrow: Allow) -> bool:
    """Whether one exception lets through all that the other one would, and does not end before it."""
    if wide.until is not None and (narrow.until is None or wide.until < narrow.until):
        return False
    said = (
        (getattr(wide, each.name), getattr(narrow, each.name))
        for each in fields(Allow)
        if each.name not in NOTES
    )
    return all(more is None or _within(less, more) for more, less in said)


def _within(less: object, more: object) -> bool:
    if isinstance(less, Network) and isinstance(more, Network):
        return less.version == more.version and less.subnet_of(more)  # type: ignore[arg-type]
    return less == more
