"""One lab for all tests in here."""

from lab.conftest import lab, no_connections

__all__ = ["lab", "no_connections"]
