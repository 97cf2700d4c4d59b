"""One lab for all tests in here."""

from lab.conftest import lab

__all__ = ["lab"]
