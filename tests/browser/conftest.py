"""One lab for all tests in here."""

from lab.conftest import cgroups, lab, no_connections

__all__ = ["cgroups", "lab", "no_connections"]
