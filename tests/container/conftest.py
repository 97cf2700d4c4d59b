"""The lab, whose client is the container's host."""

from lab.conftest import lab

__all__ = ["lab"]
