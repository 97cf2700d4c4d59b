"""systemd/install.sh and uninstall.sh, in a root of their own: what they ask for, put there and take away again."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from unit.made_root import CHECKOUT, Ended, Root

INSTALL, UNINSTALL = "systemd/install.sh", "systemd/uninstall.sh"
LOG = "/var/log/stunwall-install.log"
UNITS = "stunwall-wall.service stunwall.service"
STOPPED = "stunwall.service stunwall-wall.service"
PROFILE = "etc/apparmor.d/stunwalld"
MANAGERS = {
    "apt-get": [
        "apt-get update",
        "apt-get install -y --no-install-recommends nftables ca-certificates gcc libc6-dev python3 python3-dev "
        "python3-venv libnetfilter-queue-dev",
    ],
    "dnf": [
        "dnf install -y nftables gcc glibc-devel python3 python3-devel python3-pip libnetfilter_queue-devel"
    ],
    "pacman": ["pacman -S --needed --noconfirm nftables gcc python libnetfilter_queue"],
}


@pytest.fixture
def root(lab: None, tmp_path: Path) -> Root:
    return Root(tmp_path / "root")


def installed(root: Root) -> Ended:
    ended = root.run(INSTALL)
    assert ended.code == 0, ended.err
    return ended


# Packages


@pytest.mark.parametrize("manager", MANAGERS)
def test_the_package_manager_is_asked_for_the_distributions_own_names(root: Root, manager: str) -> None:
    root.fake(manager)
    ended = installed(root)
    assert [call for call in ended.calls if call.startswith(manager)] == MANAGERS[manager]
    assert ended.calls[: len(MANAGERS[manager])] == MANAGERS[manager]  # before anything else
    assert f"installing the packages it needs with {manager} ..." in ended.out


def test_of_several_package_managers_one_is_asked(root: Root) -> None:
    for manager in MANAGERS:
        root.fake(manager)
    assert {call.split()[0] for call in installed(root).calls} & MANAGERS.keys() == {"apt-get"}


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_package_manager_that_fails_ends_it_with_its_last_words_and_where_the_rest_is(
    root: Root, manager: str
) -> None:
    root.fake(manager, "for n in 1 2 3 4 5 6 7 8; do echo line $n; echo no route >&2; echo; done; exit 100")
    before = root.there()
    ended = root.run(INSTALL)
    assert ended.code == 1
    assert "line 8\nno route\n" in ended.err
    assert "line 1\n" not in ended.err
    assert re.fullmatch(
        rf"stunwall: {manager}.* failed, see above\. The whole output is in {LOG}\. Fix the cause, then run this again",
        ended.err.splitlines()[-1],
    )
    assert "line 1\n" in root.read(LOG[1:])
    assert root.there() - before == {LOG[1:]}


def test_without_a_known_package_manager_it_says_what_has_to_be_there(root: Root) -> None:
    said = installed(root).out
    assert "there is no apt-get, dnf or pacman" in said
    for name in ("nft", "gcc", "Python 3.11", "venv", "libnetfilter_queue"):
        assert name in said


@pytest.mark.parametrize("tool", ["nft", "gcc", "python3"])
def test_without_a_known_package_manager_a_missing_tool_is_named(root: Root, tool: str) -> None:
    root.remove(f"usr/bin/{tool}")
    before = root.there()
    ended = root.run(INSTALL)
    assert ended.code == 1
    assert (
        ended.err == f"stunwall: {tool} was not found: install it with your distribution's package manager\n"
    )
    assert root.there() == before


# What else can be in the way


def test_an_old_python_is_told_with_what_is_needed(root: Root) -> None:
    root.fake("python3", "case $1 in --version) echo Python 3.9.2 ;; -c) exit 1 ;; esac")
    ended = root.run(INSTALL)
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith(
        "stunwall: Python 3.11 or newer is needed, Python 3.9.2 found"
    )
    assert not list((root.folder / "opt").iterdir())


def test_beside_the_package_it_does_not_install(root: Root) -> None:
    root.write("usr/lib/stunwall/bin/stunwalld", "")
    before = root.there()
    for script in (INSTALL, UNINSTALL):
        ended = root.run(script)
        assert (ended.code, ended.calls, root.there()) == (1, [], before)
        assert "the package stunwall is installed" in ended.err
        assert "apt remove stunwall" in ended.err


@pytest.mark.parametrize("script", [INSTALL, UNINSTALL])
def test_without_root_it_asks_by_sudo_or_says_that_there_is_none(root: Root, script: str) -> None:
    ended = root.run(script, "--purge", user=65534)
    assert (ended.code, ended.calls) == (1, [])
    assert ended.err == "stunwall: this needs root: log in as root, or install sudo\n"
    root.fake("sudo")
    ended = root.run(script, "--purge", user=65534)
    assert ended.calls == [f"sudo -- /checkout/{script} --purge"]


def test_an_environment_that_cannot_be_built_leaves_the_old_one(root: Root) -> None:
    installed(root)
    before = root.there()
    root.fake("pip", "echo no network >&2; exit 1", "fakes")
    ended = root.run(INSTALL)
    assert ended.code == 1
    assert ended.err == (
        f"no network\nstunwall: pip failed, see above. The whole output is in {LOG}. "
        "Fix the cause, then run this again\n"
    )
    assert root.there() == before
    assert not [call for call in ended.calls if call.startswith("systemctl")]


def test_a_wrong_configuration_is_told_and_nothing_is_changed(root: Root) -> None:
    installed(root)
    before = root.there()
    root.fake("stunwall", "echo 'stunwall.toml, line 3: mode' >&2; exit 3", "fakes")
    ended = root.run(INSTALL)
    assert ended.code == 1
    assert ended.err == (
        "stunwall.toml, line 3: mode\n"
        "stunwall: the configuration is wrong (see above): correct it, then run this again. Nothing was changed\n"
    )
    assert root.there() == before
    assert not [call for call in ended.calls if call.startswith("systemctl")]


def test_a_service_that_does_not_start_is_told_with_its_last_words(root: Root) -> None:
    root.fake("systemctl", "case $1 in restart) exit 1 ;; show) echo 1 ;; esac")
    root.fake("journalctl", "echo the queue is taken")
    ended = root.run(INSTALL)
    assert ended.code == 1
    assert ended.err == (
        "the queue is taken\n"
        "stunwall: the service did not start, see above. 'sudo stunwall doctor' looks for the cause\n"
    )


def test_a_container_that_gives_services_no_mount_namespace_is_told_what_it_needs(root: Root) -> None:
    root.fake("systemctl", "case $1 in restart) exit 1 ;; show) echo 226 ;; esac")
    ended = root.run(INSTALL)
    assert ended.code == 1
    assert "systemctl show -p ExecMainStatus --value stunwall.service" in ended.calls
    for part in ("no mount namespace", "The rules are loaded", "Allow nesting for the container"):
        assert part in ended.err


# What is put there

CHECK_UNITS = (
    "stunwall-check.path",
    "stunwall-check.service",
    "stunwall-proof.service",
    "stunwall-sealed.target",
    "stunwall-unsealed.target",
)
METRICS_UNITS = ("stunwall-metrics.service", "stunwall-metrics.timer")
PUT = {
    "rules/stunwall.nft": "opt/stunwall/stunwall.nft",
    "rules/bound_tcp.nft": "opt/stunwall/bound_tcp.nft",
    "rules/output.nft": "opt/stunwall/output.nft",
    "rules/redirect.nft": "opt/stunwall/redirect.nft",
    "rules/vpn_down.nft": "opt/stunwall/vpn_down.nft",
    "rules/second_lock.nft": "opt/stunwall/second_lock.nft",
    "systemd/stopped.sh": "opt/stunwall/stopped.sh",
    "systemd/stunwall-wall.service": "etc/systemd/system/stunwall-wall.service",
    "systemd/stunwall.service": "etc/systemd/system/stunwall.service",
    **{f"systemd/{name}": f"etc/systemd/system/{name}" for name in (*CHECK_UNITS, *METRICS_UNITS)},
    "systemd/prometheus/stunwall.rules.yml": "opt/stunwall/stunwall.rules.yml",
    "systemd/grafana/stunwall.json": "opt/stunwall/stunwall.json",
    "systemd/stunwall-notify.service": "etc/systemd/user/stunwall-notify.service",
    "systemd/stunwall-notify.desktop": "usr/local/share/applications/stunwall-notify.desktop",
    "systemd/org.stunwall.policy": "usr/share/polkit-1/actions/org.stunwall.policy",
    "systemd/nftables-drop-in.conf": "etc/systemd/system/nftables.service.d/stunwall.conf",
    "systemd/stunwall.catalog": "usr/local/lib/systemd/catalog/stunwall.catalog",
    "systemd/stunwall.toml": "etc/stunwall/stunwall.toml",
    "systemd/sysusers.conf": "etc/sysusers.d/stunwall.conf",
    "systemd/tmpfiles.conf": "etc/tmpfiles.d/stunwall.conf",
    "systemd/man/stunwall.1": "usr/local/share/man/man1/stunwall.1",
    "systemd/man/stunwall.toml.5": "usr/local/share/man/man5/stunwall.toml.5",
    "systemd/man/stunwalld.8": "usr/local/share/man/man8/stunwalld.8",
    "systemd/completion/stunwall.bash": "usr/local/share/bash-completion/completions/stunwall",
    "systemd/completion/_stunwall": "usr/local/share/zsh/site-functions/_stunwall",
    "systemd/completion/stunwall.fish": "etc/fish/completions/stunwall.fish",
}
LINKS = {
    "usr/local/bin/stunwall": "/opt/stunwall/bin/stunwall",
    "usr/local/sbin/stunwalld": "/opt/stunwall/bin/stunwalld",
    "usr/local/share/bash-completion/completions/stunwalld": "stunwall",
    "etc/fish/completions/stunwalld.fish": "stunwall.fish",
}


def test_all_that_belongs_to_it_is_put_in_its_place(root: Root) -> None:
    installed(root)
    for source, target in PUT.items():
        assert root.read(target) == (CHECKOUT / source).read_text()
    for link, target in LINKS.items():
        assert str((root.folder / link).readlink()) == target
    sources = {
        *(CHECKOUT / "rules").glob("*.nft"),
        *(CHECKOUT / "systemd").glob("*.*"),
        *(CHECKOUT / "systemd").glob("[cm]*/*"),
        *(CHECKOUT / "systemd").glob("prometheus/*"),
        *(CHECKOUT / "systemd").glob("grafana/*"),
    }
    others = {
        "README.md",
        "install.sh",
        "package.sh",
        "scriptlet.sh",
        "stage.sh",
        "stunwall.preset",
        "uninstall.sh",
    }
    put = {path for path in sources if path.name not in others and path.parent.name != "python"}
    assert {str(path.relative_to(CHECKOUT)) for path in put} == PUT.keys()


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_folders_and_files_belong_to_whom_they_should(root: Root, umask: int) -> None:
    before = os.umask(umask)
    try:
        installed(root)
    finally:
        os.umask(before)
    for path, mode, user, group in (
        ("etc/stunwall", 0o755, 0, 0),
        ("etc/stunwall/conf.d", 0o755, 990, 0),
        ("var/lib/stunwall", 0o750, 990, 990),
        ("opt/stunwall", 0o755, 0, 0),
        ("opt/stunwall/bin", 0o755, 0, 0),
        ("opt/stunwall/stopped.sh", 0o755, 0, 0),
        ("etc/stunwall/stunwall.toml", 0o644, 0, 0),
    ):
        found = (root.folder / path).stat()
        assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (mode, user, group), path


def test_a_container_has_the_units_environment() -> None:
    unit = re.findall("^Environment=(.*)", (CHECKOUT / "systemd/stunwall.service").read_text(), re.M)
    image = re.findall("^ENV (.*)", (CHECKOUT / "systemd/docker/Dockerfile").read_text(), re.M)
    assert image == unit != []


def test_programs_name_the_folder_in_which_they_end_up(root: Root) -> None:
    installed(root)
    for name in ("stunwall", "stunwalld"):
        assert root.read(f"opt/stunwall/bin/{name}").endswith("# made in /opt/stunwall/bin\n")
    assert [path.name for path in (root.folder / "opt").iterdir()] == ["stunwall"]


def test_the_service_is_enabled_and_started_the_wall_first(root: Root) -> None:
    calls = installed(root).calls
    assert [call for call in calls if call.startswith("systemctl")] == [
        "systemctl daemon-reload",
        f"systemctl enable --quiet {UNITS}",
        f"systemctl restart {UNITS}",
    ]
    assert calls[-1] == "stunwall status"


def test_an_upgrade_keeps_configuration_and_record_and_touches_no_rule(root: Root) -> None:
    installed(root)
    kept = ("etc/stunwall/stunwall.toml", "etc/stunwall/conf.d/90-allow.toml", "var/lib/stunwall/events.db")
    for path in kept:
        root.write(path, "mine\n")
    root.write("opt/stunwall/of-the-old-one", "")
    calls = installed(root).calls
    assert [root.read(path) for path in kept] == ["mine\n"] * 3
    assert not (root.folder / "opt/stunwall/of-the-old-one").exists()
    assert not [call for call in calls if call.startswith(("nft", "systemctl stop"))]


def test_where_systemd_does_not_run_the_daemon_does_in_the_foreground(root: Root) -> None:
    root.remove("run/systemd")
    ended = installed(root)
    assert ended.calls[-1].strip() == "stunwalld"
    assert "this machine does not run systemd: stunwalld now runs here" in ended.out
    assert not [call for call in ended.calls if call.startswith("systemctl")]
    assert not (root.folder / "etc/systemd/system/stunwall.service").exists()


def test_without_sysusers_the_user_is_made_once(root: Root) -> None:
    root.remove("usr/bin/systemd-sysusers")
    made = "useradd --system --user-group --home-dir /var/lib/stunwall --shell /usr/sbin/nologin stunwall"
    assert made in installed(root).calls
    assert made not in installed(root).calls


# What is taken away

KEPT = {
    "etc/stunwall",
    "etc/stunwall/conf.d",
    "etc/stunwall/stunwall.toml",
    "var/lib/stunwall",
}


@pytest.mark.parametrize(("options", "kept"), [((), KEPT), (("--purge",), set())], ids=["keep", "purge"])
def test_after_it_is_removed_nothing_is_left_but_what_shall_be_kept(
    root: Root, options: tuple[str, ...], kept: set[str]
) -> None:
    before = root.there()
    installed(root)
    ended = root.run(UNINSTALL, *options)
    assert (ended.code, ended.err) == (0, "")
    assert root.there() - before == kept
    assert before <= root.there()
    assert ("stunwall" in root.read("etc/passwd") + root.read("etc/group")) == bool(kept)
    assert "STUN is free to leave by any interface" in ended.out


def test_the_service_ends_before_its_rules_routes_and_files_go(root: Root) -> None:
    installed(root)
    calls = root.run(UNINSTALL).calls
    assert calls[:2] == [
        f"systemctl disable --quiet --now {STOPPED}",
        "systemctl disable --quiet --now stunwall-metrics.timer",
    ]
    assert "nft delete table inet stunwall" in calls
    for family in ("-4", "-6"):
        for what in ("rule", "route"):
            assert f"ip {family} {what} flush table 4780" in calls
    assert calls[-2] == "systemctl daemon-reload"


def test_the_figures_that_it_wrote_go_with_it_and_those_of_others_stay(root: Root) -> None:
    installed(root)
    ours, other = (f"var/lib/prometheus/node-exporter/{name}.prom" for name in ("stunwall", "apt"))
    for file in (ours, other):
        root.write(file, "")
    root.run(UNINSTALL)
    assert not (root.folder / ours).exists()
    assert (root.folder / other).exists()


def test_folders_that_others_use_too_stay(root: Root) -> None:
    installed(root)
    other = "etc/fish/completions/other.fish"
    root.write(other, "")
    root.run(UNINSTALL, "--purge")
    assert (root.folder / other).exists()


def test_where_apparmor_is_the_daemon_starts_under_its_profile_until_it_is_removed(root: Root) -> None:
    for name in ("apparmor_parser", "aa-enabled"):
        root.fake(name)
    before = root.there()
    calls = installed(root).calls
    assert root.read(PROFILE) == (CHECKOUT / "systemd/apparmor/stunwalld").read_text()
    assert calls.index(f"apparmor_parser -r -T -W /{PROFILE}") < calls.index(f"systemctl restart {UNITS}")
    root.write("var/cache/apparmor/26b63962.0/stunwalld", "")
    calls = root.run(UNINSTALL, "--purge").calls
    assert calls.index(f"apparmor_parser -R /{PROFILE}") > calls.index(
        f"systemctl disable --quiet --now {STOPPED}"
    )
    assert "stunwalld" not in {path.rpartition("/")[2] for path in root.there() - before}


def test_where_apparmor_is_off_the_profile_waits_until_it_is_on(root: Root) -> None:
    root.fake("apparmor_parser")
    root.fake("aa-enabled", "exit 1")
    assert not [call for call in installed(root).calls if call.startswith("apparmor_parser")]
    assert root.read(PROFILE)


def test_a_profile_that_apparmor_does_not_take_is_told_and_stops_nothing(root: Root) -> None:
    root.fake("apparmor_parser", "exit 1")
    root.fake("aa-enabled")
    ended = installed(root)
    assert f"AppArmor did not take /{PROFILE}, see above. The daemon runs without a profile." in ended.err
    assert f"systemctl restart {UNITS}" in ended.calls


def test_removing_it_twice_or_where_it_never_was_is_no_error(root: Root) -> None:
    root.fake("nft", '[ "$1" != list ] || exit 1')
    root.fake("systemctl", "exit 5")
    root.remove("run/systemd")
    for _ in range(2):
        ended = root.run(UNINSTALL, "--purge")
        assert (ended.code, ended.err) == (0, "")
        assert not [call for call in ended.calls if "delete" in call]


def test_an_unknown_option_of_uninstall_removes_nothing(root: Root) -> None:
    installed(root)
    before = root.there()
    ended = root.run(UNINSTALL, "--all")
    assert (ended.code, ended.err) == (1, "stunwall: usage: uninstall.sh [--purge]\n")
    assert root.there() == before


# What takes the wall down


@pytest.mark.parametrize(
    ("state", "job", "goes"),
    [
        ("running", "812 stunwall.service stop running", True),
        ("degraded", "812 stunwall.service stop running", True),
        ("running", "812 stunwall.service restart running", False),
        ("running", "812 stunwall-wall.service stop running", False),
        ("running", "", False),
        ("stopping", "812 stunwall.service stop running", False),
        ("running", "812 stunwall.service stop running\n813 rescue.target start waiting", False),
        ("maintenance", "812 stunwall.service stop running", False),
    ],
    ids=[
        "stop",
        "stop, with another unit failed",
        "restart",
        "the wall's unit",
        "crash",
        "shutdown",
        "on the way to the rescue system",
        "in the rescue system",
    ],
)
def test_when_the_daemon_has_ended_the_wall_goes_only_where_the_service_is_stopped_for_good(
    root: Root, state: str, job: str, goes: bool
) -> None:
    installed(root)
    jobs = f"1 other.service start waiting\n{job}"
    root.fake(
        "systemctl",
        f"case $1 in is-system-running) echo {state}; [ {state} = running ] ;; list-jobs) echo '{jobs}' ;; esac",
    )
    ended = root.run("systemd/stopped.sh")
    assert (ended.code, ended.err) == (0, "")
    assert ("stunwalld --stopped" in ended.calls) == goes


@pytest.mark.parametrize(("wall", "marked"), [("exit 1", True), ("", False)], ids=["gone", "left"])
def test_where_the_wall_has_gone_the_next_start_shall_put_it_up(root: Root, wall: str, marked: bool) -> None:
    installed(root)
    root.fake("nft", wall)
    root.fake(
        "systemctl",
        "case $1 in is-system-running) echo running ;; list-jobs) echo '1 stunwall.service stop running' ;; esac",
    )
    ended = root.run("systemd/stopped.sh")
    assert (ended.code, ended.err) == (0, "")
    assert ("systemctl --no-block stop stunwall-wall.service" in ended.calls) == marked


# The scripts themselves


@pytest.mark.parametrize("script", [INSTALL, "systemd/stage.sh"])
def test_every_file_that_a_script_names_is_there(script: str) -> None:
    named = re.findall(r'\$root"?/([\w./*\[\]-]+)', (CHECKOUT / script).read_text())
    assert len(named) > 10
    for path in named:
        assert list(CHECKOUT.glob(path.replace("$script", "p*"))), path


def test_the_service_may_hide_the_cgroups_from_nft() -> None:
    """Without these system calls nothing fails, but any user could crash it."""
    allowed = re.findall(
        r"^SystemCallFilter=(.*)$", (CHECKOUT / "systemd/stunwall.service").read_text(), re.M
    )
    assert {"landlock_create_ruleset", "landlock_restrict_self"} <= set(" ".join(allowed).split())


def test_units_and_programs_name_each_other_where_they_are_installed() -> None:
    for source, target in PUT.items():
        for path in re.findall(r"/opt/(stunwall/[\w./-]+)", (CHECKOUT / source).read_text()):
            assert f"opt/{path}" in {*PUT.values(), *(link.lstrip("/") for link in LINKS.values())}, target


def test_the_units_of_checks_and_metrics_are_ones_that_systemd_takes_and_locks_down(tmp_path: Path) -> None:
    for name in (*CHECK_UNITS, *METRICS_UNITS, "stunwall.service", "stunwall-wall.service"):
        text = (CHECKOUT / "systemd" / name).read_text()
        (tmp_path / name).write_text(re.sub("/opt/stunwall/[a-z/.]+", "/bin/true", text))
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}

    def analyzed(*arguments: str) -> tuple[int, str]:
        command = ["systemd-analyze", "--man=no", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        return done.returncode, done.stdout + done.stderr

    assert analyzed("verify", *CHECK_UNITS, *METRICS_UNITS) == (0, "")
    for name in ("stunwall-check.service", "stunwall-proof.service", "stunwall-metrics.service"):
        code, said = analyzed(
            "security", "--offline=yes", "--no-pager", "--threshold=15", str(tmp_path / name)
        )
        assert code == 0, said.splitlines()[-1]


def test_the_users_service_is_one_that_a_users_manager_takes(tmp_path: Path) -> None:
    unit = tmp_path / "stunwall-notify.service"
    text = (CHECKOUT / "systemd" / unit.name).read_text()
    unit.write_text(text.replace("/opt/stunwall/bin/stunwall", "/bin/true"))
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    verify = ["systemd-analyze", "--user", "--man=no", "verify"]
    done = subprocess.run([*verify, unit], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    unit.write_text(f"{text}\n[Service]\nNoSuchSetting=1\n")
    done = subprocess.run([*verify, unit], capture_output=True, text=True, env=environment, check=False)
    assert "NoSuchSetting" in done.stderr, "it says what is wrong"


def shell_scripts() -> list[Path]:
    """Every shell script of the checkout."""
    folders = (".ci", "agent", "rules", "systemd", "tests")
    files = [path for folder in folders for path in (CHECKOUT / folder).rglob("*") if path.is_file()]
    return [
        path
        for path in sorted(files)
        if path.suffix == ".bash" or re.match(rb"#! ?/bin/(ba)?sh\b", path.read_bytes()[:20])
    ]


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.fail("this test needs shellcheck: run it by tests/run.sh unit", pytrace=False)
    scripts = shell_scripts()
    assert {"install.sh", "uninstall.sh", "postinst", "run.sh", "stunwall.bash"} <= {s.name for s in scripts}
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")
