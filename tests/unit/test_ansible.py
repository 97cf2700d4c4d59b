"""systemd/ansible/: the files that the role writes, and that its variables are the documented ones."""

import json
import re
import tomllib
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jinja2
from hypothesis import given
from hypothesis import strategies as st

from stunwall.config import Config
from stunwall.configfile import reader
from unit.made_root import CHECKOUT

ROLE = CHECKOUT / "systemd/ansible/roles/stunwall"
# What no UTF-8 holds, Ansible cannot write either.
TEXT = st.text(st.characters(codec="utf-8"))
VALUE = st.one_of(TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.lists(TEXT))


@cache
def ansible() -> jinja2.Environment:
    """Templates as Ansible's module `template` reads them, with the filters and tests of Ansible that the role uses."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"), trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["to_json"] = json.dumps
    environment.filters["bool"] = bool
    environment.filters["combine"] = lambda one, other: one | other
    environment.tests["match"] = lambda text, pattern: re.match(pattern, text) is not None
    return environment


def rendered(template: str, **variables: Any) -> str:
    return ansible().get_template(template).render(**variables)


@given(st.dictionaries(TEXT, st.one_of(VALUE, st.dictionaries(TEXT, VALUE))))
def test_settings_are_written_as_they_were_given_whatever_they_say(settings: dict[str, Any]) -> None:
    assert tomllib.loads(rendered("settings.toml.j2", stunwall_config=settings)) == settings


@given(st.lists(st.dictionaries(TEXT, VALUE), min_size=1))
def test_exceptions_are_written_as_they_were_given_whatever_they_say(
    exceptions: list[dict[str, Any]],
) -> None:
    text = rendered("exceptions.toml.j2", stunwall_exceptions=exceptions)
    assert tomllib.loads(text)["allow"] == exceptions


def test_the_time_until_which_an_exception_holds_is_one_in_the_file(tmp_path: Any) -> None:
    until = datetime(2126, 12, 31, 18, tzinfo=UTC)
    for written in (until, str(until), until.isoformat(), "2126-12-31T18:00:00Z", int(until.timestamp())):
        given = [{"port": 7, "until": written, "why": "a test"}]
        file = tmp_path / "allow.toml"
        file.write_text(rendered("exceptions.toml.j2", stunwall_exceptions=given))
        (rule,) = reader.merge(Config(), file).allow
        assert rule.until == int(until.timestamp()), written
    text = 'a" \n[[allow]]\nport = 1\nwhy = "'
    assert tomllib.loads(rendered("exceptions.toml.j2", stunwall_exceptions=[{"until": text}]))["allow"] == [
        {"until": text}
    ]


def test_the_fleets_word_on_checks_stands_beside_the_settings() -> None:
    text = rendered(
        "settings.toml.j2", stunwall_config={"mode": "redirect"}, stunwall_check_every_vpn_up=True
    )
    assert tomllib.loads(text) == {"mode": "redirect", "check_every_vpn_up": True}


def test_every_variable_is_declared_used_and_documented() -> None:
    declared = re.findall(r"^      (stunwall_\w+):$", (ROLE / "meta/argument_specs.yml").read_text(), re.M)
    assert len(declared) > 5
    defaults = re.findall(r"^(stunwall_\w+):", (ROLE / "defaults/main.yml").read_text(), re.M)
    # Not given, it leaves the machine's own setting.
    assert {*declared} == {*defaults, "stunwall_check_every_vpn_up"}
    folders = (ROLE / folder for folder in ("tasks", "templates", "vars"))
    used = "".join(path.read_text() for folder in folders for path in folder.iterdir())
    documented = (CHECKOUT / "systemd/README.md").read_text()
    for name in declared:
        assert name in used, name
        assert f"`{name}`" in documented, name
