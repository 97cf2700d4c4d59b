"""Rulesets as the real nft prints them."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def ruleset(lab: None) -> Iterator[Any]:
    """Loads rules and returns them as nft prints them."""

    def loaded(text: str) -> Any:
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
        done = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["nftables"]

    subprocess.run(["nft", "flush", "ruleset"], check=True)
    yield loaded
    subprocess.run(["nft", "flush", "ruleset"], check=True)
