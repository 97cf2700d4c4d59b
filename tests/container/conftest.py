"""The lab, whose client is the container's host."""

from collections.abc import Iterator

import pytest

from lab.namespace import require_isolation
from lab.topology import Lab

try:
    require_isolation()
except RuntimeError as error:
    pytest.exit(str(error), returncode=4)


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab
