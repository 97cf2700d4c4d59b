"""A kernel without rules, and a way out."""

from collections.abc import Iterator

import pytest

from unit.wall_kernel import Way, run_nft


@pytest.fixture
def clear(lab: None) -> Iterator[None]:
    """No table before, none after."""
    run_nft("flush", "ruleset")
    yield
    run_nft("flush", "ruleset")


@pytest.fixture
def way() -> Iterator[Way]:
    made = Way()
    yield made
    made.close()
