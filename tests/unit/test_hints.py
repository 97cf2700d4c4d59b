"""hints.py: phrases that several messages share."""

import pytest

from stunwall import hints


@pytest.mark.parametrize(
    ("systemd", "start", "restart"),
    [
        (True, "sudo systemctl start stunwall", "sudo systemctl restart stunwall"),
        (False, "sudo stunwalld", "stop stunwalld if it is running, then run `sudo stunwalld`"),
    ],
)
def test_the_advice_names_systemctl_only_where_systemd_runs(systemd: bool, start: str, restart: str) -> None:
    assert hints.start(systemd) == start
    assert hints.restart(systemd) == restart
    assert start in hints.START
    assert ("systemctl" in hints.then_restart(systemd)) == systemd


def test_a_user_without_permission_learns_how_to_get_it() -> None:
    assert hints.members_only("read the record") == (
        "only root and the group stunwall can read the record: use sudo, or join the group with "
        "`sudo usermod -aG stunwall $USER` and log in again"
    )
