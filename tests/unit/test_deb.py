"""systemd/deb/: the package that build.sh makes. Only Python's part, which needs a network, is not the real one."""

import gzip
import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from unit.made_root import CHECKOUT, Root
from unit.test_packaging import PROFILE, PUT

FOLDER = CHECKOUT / "systemd" / "deb"
VERSION = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
MAINTAINER = "A & B | C <builder@packages.test>"
_NAMED = {"DEBFULLNAME": "A & B | C", "DEBEMAIL": "builder@packages.test"}
UNITS = "stunwall-wall.service stunwall.service"
# Makes an environment whose pip puts a module and a compiled library where it is told, and what is to be left out: a
# program, and pip's notes of the build.
_PYTHON = """#!/bin/sh
case $1 in
    -c) echo 11 ;;
    -m)
        mkdir -p "$3/bin"
        cat >"$3/bin/pip" <<'END'
#!/bin/sh
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/bin" "$2/netfilterqueue" "$2/stunwall/tests" "$2/stunwall-0.dist-info"
touch "$2/bin/stunwall" "$2/stunwall/daemon.py" "$2/stunwall/tests/test.py"
cp "$LIBRARY" "$2/netfilterqueue/_impl.so"
for note in METADATA RECORD INSTALLER REQUESTED direct_url.json; do
    echo "$note" >"$2/stunwall-0.dist-info/$note"
done
echo "$2" >>"$2/stunwall-0.dist-info/direct_url.json"
END
        chmod 755 "$3/bin/pip"
        ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Package:
    """A package, taken apart: its fields, its control files, its files, and how `dpkg-deb --contents` lists them."""

    file: Path
    fields: dict[str, str]
    control: Path
    tree: Path
    listed: list[str]


def build(
    folder: Path, *options: str, maintainer: dict[str, str] = _NAMED, umask: int = 0o022, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run build.sh; outside of its mount namespace Python stays what it is."""
    library = find_spec("netfilterqueue._impl")
    assert library is not None
    assert library.origin is not None
    folder.mkdir(parents=True)
    python = folder / "python3"
    python.write_text(_PYTHON)
    python.chmod(0o755)
    inside = 'mount --bind "$1" "$(realpath /usr/bin/python3)" && shift && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", inside, "sh", str(python), f"{FOLDER}/build.sh", *options]
    inherited = {name: value for name, value in os.environ.items() if name not in _NAMED}
    environment = inherited | maintainer | {"SOURCE_DATE_EPOCH": "1700000000", "LIBRARY": library.origin}
    return subprocess.run(
        [*command, f"{folder}/deb"],
        capture_output=True,
        text=True,
        env=environment | variables,
        umask=umask,
        check=False,
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    for tool in ("dpkg-deb", "dpkg-shlibdeps", "strip"):
        if shutil.which(tool) is None:
            pytest.fail(f"this test needs {tool} (dpkg-dev, binutils)", pytrace=False)
    folder = tmp_path_factory.mktemp("package")
    done = build(folder / "build")
    assert done.returncode == 0, done.stderr
    file = Path(done.stdout.strip())

    def deb(*arguments: str | Path) -> str:
        return subprocess.run(["dpkg-deb", *arguments], check=True, capture_output=True, text=True).stdout

    deb("--control", file, folder / "control")
    deb("--extract", file, folder / "tree")
    fields = dict(re.findall(r"^(\S+): (.*)$", deb("--field", file), re.M))
    return Package(file, fields, folder / "control", folder / "tree", deb("--contents", file).splitlines())


@pytest.fixture(autouse=True)
def alone(lab: None) -> None:
    """Root, to mount."""


def test_who_built_it_maintains_it(package: Package) -> None:
    """As with debchange(1): there is no address that would answer for everybody's packages."""
    documents = package.tree / "usr/share/doc/stunwall"
    changelog = gzip.decompress((documents / "changelog.Debian.gz").read_bytes()).decode()
    assert f"\n -- {MAINTAINER}  " in changelog
    for text in (changelog, (documents / "copyright").read_text(), (package.control / "control").read_text()):
        assert not re.search(r"@[\w.-]*\bexample\b", text)


def test_by_default_the_user_who_builds_it_maintains_it(tmp_path: Path) -> None:
    file = Path(build(tmp_path / "build", maintainer={}).stdout.strip())
    field = subprocess.run(["dpkg-deb", "--field", file, "Maintainer"], capture_output=True, text=True)
    assert field.stdout == f"root <root@{os.uname().nodename}>\n"


def test_its_fields_name_it(package: Package) -> None:
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True).stdout
    named = {name: package.fields[name] for name in ("Package", "Version", "Architecture", "Section")}
    assert named == {
        "Package": "stunwall",
        "Version": VERSION,
        "Architecture": architecture.strip(),
        "Section": "net",
    }
    assert package.file.name == f"stunwall_{VERSION}_{architecture.strip()}.deb"
    assert package.fields["Maintainer"] == MAINTAINER
    assert 10 < len(package.fields["Description"]) < 80
    assert int(package.fields["Installed-Size"]) > 0


def test_it_depends_on_nft_systemd_the_python_it_was_built_with_and_what_its_libraries_load(
    package: Package,
) -> None:
    depends = package.fields["Depends"].split(", ")
    assert depends[-4:] == ["nftables (>= 1.0.2)", "python3 (>= 3.11)", "python3 (<< 3.12)", "systemd"]
    assert {name.split()[0] for name in depends[:-4]} == {"libc6", "libnetfilter-queue1", "libnftables1"}


def test_its_needs_are_those_of_the_readme() -> None:
    said = " ".join((CHECKOUT / "README.md").read_text().split())
    assert "nft 1.0.2, Python 3.11" in said


def test_an_upgrade_asks_before_it_replaces_a_changed_configuration(package: Package) -> None:
    assert (package.control / "conffiles").read_text() == f"/etc/stunwall/stunwall.toml\n/{PROFILE}\n"
    assert (package.tree / PROFILE).read_text() == (CHECKOUT / "systemd/apparmor/stunwalld").read_text()


WHERE = {
    "opt/stunwall/": "usr/lib/stunwall/",
    "etc/systemd/system/": "lib/systemd/system/",
    "etc/systemd/user/": "usr/lib/systemd/user/",
    "etc/sysusers.d/": "usr/lib/sysusers.d/",
    "etc/tmpfiles.d/": "usr/lib/tmpfiles.d/",
    "usr/local/share/zsh/site-functions/": "usr/share/zsh/vendor-completions/",
    "usr/local/lib/systemd/": "usr/lib/systemd/",
    "usr/local/share/": "usr/share/",
    "etc/fish/completions/": "usr/share/fish/vendor_completions.d/",
    "etc/stunwall/": "etc/stunwall/",
    "usr/share/polkit-1/": "usr/share/polkit-1/",
}


@pytest.mark.parametrize(("source", "target"), PUT.items(), ids=PUT)
def test_it_has_all_that_install_puts_on_a_machine_where_packages_have_it(
    package: Package, source: str, target: str
) -> None:
    place = next(target.replace(old, new, 1) for old, new in WHERE.items() if target.startswith(old))
    if "/man/" in place:
        text = gzip.decompress((package.tree / f"{place}.gz").read_bytes()).decode()
    else:
        text = (package.tree / place).read_text()
    assert text == (CHECKOUT / source).read_text().replace("/opt/stunwall", "/usr/lib/stunwall")


def test_its_programs_start_the_systems_python_with_its_own_packages(package: Package) -> None:
    for link, name, module in (
        ("usr/bin/stunwall", "stunwall", "stunwall.cli"),
        ("usr/sbin/stunwalld", "stunwalld", "stunwall.daemon.main"),
    ):
        assert str((package.tree / link).readlink()) == f"../lib/stunwall/bin/{name}"
        text = (package.tree / "usr/lib/stunwall/bin" / name).read_text()
        assert text.startswith("#!/usr/bin/python3 -I\n")
        assert f'sys.path.insert(0, "/usr/lib/stunwall/lib")\nfrom {module} import main\n' in text


def test_of_the_packages_only_what_runs_is_in_it(package: Package) -> None:
    library = package.tree / "usr/lib/stunwall/lib"
    found = {str(path.relative_to(library)) for path in library.rglob("*") if path.is_file()}
    assert found == {"stunwall/daemon.py", "netfilterqueue/_impl.so", "stunwall-0.dist-info/METADATA"}


def test_all_in_it_is_roots_and_nobody_else_may_change_it(package: Package) -> None:
    for line in package.listed:
        mode, owner = line.split()[:2]
        assert owner == "root/root", line
        assert mode[0] == "l" or (mode[5] == mode[8] == "-"), line
    programs = {line.split()[5] for line in package.listed if re.match(r"-..x", line)}
    assert programs == {
        f"./usr/lib/stunwall/{name}" for name in ("bin/stunwall", "bin/stunwalld", "stopped.sh")
    }


def test_nothing_in_it_names_the_place_of_the_other_installation_or_of_the_build(package: Package) -> None:
    for path in (package.tree / "usr/lib", package.tree / "lib", package.tree / "etc"):
        for file in path.rglob("*"):
            if file.is_file() and file.suffix != ".so":
                assert not re.search(r"/opt/|/tmp/|@[a-z]+@", file.read_text()), file


def test_the_same_sources_make_the_same_package(package: Package, tmp_path: Path) -> None:
    """At another time, in other folders, with other settings; `tests/run.sh deb` does so with the real pip."""
    (tmp_path / "other").mkdir()
    other = str(tmp_path / "other")
    again = build(tmp_path / "build", umask=0o077, TMPDIR=other, TZ="Asia/Tokyo", LC_ALL="C.UTF-8")
    assert Path(again.stdout.strip()).read_bytes() == package.file.read_bytes()


def test_another_version_may_be_given(tmp_path: Path) -> None:
    done = build(tmp_path / "build", "--version", "9.9.9")
    assert Path(done.stdout.strip()).name.startswith("stunwall_9.9.9_")


def test_without_a_folder_it_says_what_it_wants() -> None:
    done = subprocess.run([FOLDER / "build.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "build.sh: usage: build.sh [--version V] FOLDER\n")


def test_a_version_that_is_not_given_is_asked_for() -> None:
    for kind in ("deb", "rpm", "arch"):
        script = CHECKOUT / "systemd" / kind / "build.sh"
        done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "build.sh: --version needs a version\n")


# What dpkg runs

HELPERS = ("deb-systemd-helper", "deb-systemd-invoke", "py3compile", "py3clean", "systemd-tmpfiles")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    root = Root(tmp_path / "root")
    for name in (*HELPERS, "stunwall", "stunwalld"):
        root.fake(name)
    (root.folder / "usr/sbin").symlink_to("bin")
    return root


def test_beside_install_shs_it_is_not_unpacked(root: Root) -> None:
    assert root.run("systemd/deb/preinst", "install").code == 0
    root.write("opt/stunwall/bin/stunwalld", "")
    ended = root.run("systemd/deb/preinst", "install")
    assert ended.code == 1
    assert "Remove that first" in ended.err


@pytest.mark.parametrize(("before", "action"), [("", "start"), ("0.0.1", "restart")])
def test_once_unpacked_its_user_is_made_and_its_service_started(root: Root, before: str, action: str) -> None:
    ended = root.run("systemd/deb/postinst", "configure", before)
    assert (ended.code, ended.err) == (0, "")
    assert ended.calls[0] == "systemd-sysusers stunwall.conf"
    for name in UNITS.split():
        assert f"deb-systemd-helper enable {name}" in ended.calls
    assert ended.calls[-2:] == ["systemctl --system daemon-reload", f"deb-systemd-invoke {action} {UNITS}"]


def test_a_service_that_the_user_disabled_stays_so(root: Root) -> None:
    root.fake("deb-systemd-helper", '[ "$2" != was-enabled ]')
    calls = root.run("systemd/deb/postinst", "configure", "0.0.1").calls
    assert not [call for call in calls if call.startswith("deb-systemd-helper enable")]


def test_a_service_that_does_not_start_is_told_and_the_package_is_installed(root: Root) -> None:
    root.fake("deb-systemd-invoke", "exit 1")
    ended = root.run("systemd/deb/postinst", "configure", "")
    assert ended.code == 0
    assert "systemctl status stunwall" in ended.err


def test_without_systemd_nothing_is_started(root: Root) -> None:
    root.remove("run/systemd")
    ended = root.run("systemd/deb/postinst", "configure", "")
    assert ended.code == 0
    assert not [call for call in ended.calls if call.startswith(("systemctl", "deb-systemd-invoke"))]


def test_an_upgrade_stops_nothing_and_a_removal_takes_all_down(root: Root) -> None:
    compiled = "py3clean -p stunwall /usr/lib/stunwall/lib"
    assert root.run("systemd/deb/prerm", "upgrade", "9.9.9").calls == [compiled]
    assert root.run("systemd/deb/prerm", "remove").calls == [
        "deb-systemd-invoke stop stunwall.service stunwall-wall.service",
        "systemctl --quiet disable --now stunwall-metrics.timer",
        "stunwalld --take-down",
        "stunwall browsers reset --everyone",
        compiled,
    ]


def test_the_figures_that_it_wrote_go_with_a_removal_and_not_with_an_upgrade(root: Root) -> None:
    file = "var/lib/prometheus/node-exporter/stunwall.prom"
    root.write(file, "")
    root.run("systemd/deb/prerm", "upgrade", "9.9.9")
    assert (root.folder / file).exists()
    root.run("systemd/deb/prerm", "remove")
    assert not (root.folder / file).exists()


def test_apparmor_has_its_profile_before_the_daemon_starts_and_until_it_is_removed(root: Root) -> None:
    for name in ("apparmor_parser", "aa-enabled"):
        root.fake(name)
    root.write(PROFILE, "")  # dpkg's part
    calls = root.run("systemd/deb/postinst", "configure", "").calls
    assert calls.index(f"apparmor_parser -r -T -W /{PROFILE}") < calls.index(
        f"deb-systemd-invoke start {UNITS}"
    )
    assert f"apparmor_parser -R /{PROFILE}" not in root.run("systemd/deb/prerm", "upgrade", "9.9.9").calls
    calls = root.run("systemd/deb/prerm", "remove").calls
    assert calls.index(f"apparmor_parser -R /{PROFILE}") > calls.index("stunwalld --take-down")
    cached = root.folder / "var/cache/apparmor/26b63962.0/stunwalld"
    root.write(str(cached.relative_to(root.folder)), "")
    root.run("systemd/deb/postrm", "purge")
    assert not cached.exists()


def test_a_profile_that_apparmor_does_not_take_is_told_and_the_package_is_installed(root: Root) -> None:
    root.fake("aa-enabled")
    root.fake("apparmor_parser", "exit 1")
    root.write(PROFILE, "")
    ended = root.run("systemd/deb/postinst", "configure", "")
    assert ended.code == 0
    assert f"AppArmor did not take /{PROFILE}, see above. The daemon runs without a profile." in ended.err
    assert f"deb-systemd-invoke start {UNITS}" in ended.calls


def test_a_removal_that_python_stands_in_the_way_of_still_takes_the_wall_down(root: Root) -> None:
    root.fake("py3clean", "exit 1")
    root.fake("stunwalld", "exit 1")
    ended = root.run("systemd/deb/prerm", "remove")
    assert ended.code == 0
    assert "nft delete table inet stunwall" in ended.calls


@pytest.mark.parametrize("why", ["abort-remove", "abort-upgrade", "abort-deconfigure"])
def test_a_removal_or_upgrade_that_is_given_up_starts_the_service_again(root: Root, why: str) -> None:
    calls = root.run("systemd/deb/postinst", why, "0.1.0").calls
    assert f"deb-systemd-invoke restart {UNITS}" in calls


def test_a_purge_leaves_what_install_sh_has_put_there_since(root: Root) -> None:
    root.write("opt/stunwall/bin/stunwalld", "")
    root.write("etc/stunwall/stunwall.toml", "mine")
    root.write("var/lib/systemd/deb-systemd-helper-enabled/stunwall.service.dsh-also", "")
    ended = root.run("systemd/deb/postrm", "purge")
    assert (ended.code, ended.calls) == (0, [])
    assert root.read("etc/stunwall/stunwall.toml") == "mine"
    assert not list((root.folder / "var/lib/systemd/deb-systemd-helper-enabled").iterdir())


def test_a_purge_takes_configuration_record_and_user(root: Root) -> None:
    before = root.there()
    root.run("systemd/deb/postinst", "configure", "")
    for path in ("etc/stunwall/conf.d/90-allow.toml", "var/lib/stunwall/events.db"):
        root.write(path, "mine")
    root.run("systemd/deb/postrm", "remove")
    assert root.read("var/lib/stunwall/events.db") == "mine"
    assert root.run("systemd/deb/postrm", "purge").code == 0
    assert root.there() == before
    assert "stunwall" not in root.read("etc/passwd") + root.read("etc/group")
