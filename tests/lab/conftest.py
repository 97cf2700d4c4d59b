"""One lab for all tests in here."""

from collections.abc import Iterator

import pytest

from lab.namespace import require_isolation
from lab.topology import Lab

try:
    require_isolation()
except RuntimeError as error:
    pytest.exit(str(error), returncode=4)


# Not "session": the browsers' tests have a lab too, and the names of its namespaces are taken only once.
@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab
