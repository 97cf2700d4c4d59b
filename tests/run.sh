#!/bin/sh
# Installs what the tests need, and runs them: all, or one part.
#   run.sh               everything but the slowest tests
#   run.sh unit|lab|browser|vm [pytest options]  one part, whole
#   run.sh fuzz [SECONDS]  damaged and random input until then, an hour unless said otherwise
#   run.sh matrix [--write]  which STUN leaves, by sender and state; --write puts the table into rules/README.md
#   run.sh refusals [chromium|firefox]  what a page sees of a refusal, beside real servers
#   run.sh calls [--write]  which calls work, by browser, level and mode; --write puts the table into README.md
#   run.sh attacks [--write]  attacks on VPN users, played; --write puts the scoreboard into tests/README.md
#   run.sh bench [--only NOUN] [--quick] [--write]  what stunwall costs, beside its peers; --write puts it into tests/bench/README.md
#   run.sh demo          what a web page sees, without stunwall and with it
#   run.sh container     the image of systemd/docker/, built and run; takes a network
#   run.sh deb [FOLDER]  the Debian package, built twice and compared, looked at by lintian
#   run.sh rpm [FOLDER]  the RPM, looked at by rpmlint
#   run.sh arch [FOLDER]  Arch's package, by makepkg
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
part=${1-all}
[ $# = 0 ] || shift

fail() { printf 'run.sh: %s\n' "$*" >&2; exit 1; }

case $part in
    all | unit | fuzz | lab | matrix | attacks | browser | calls | refusals | bench | vm | demo | container | deb | rpm | arch) ;;
    *) fail "usage: run.sh [unit|lab|browser|vm|demo] [pytest options], run.sh deb|rpm|arch [FOLDER], run.sh fuzz [SECONDS], run.sh matrix|attacks|calls|bench [--write], or run.sh refusals|container" ;;
esac
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "this needs root (network namespaces, packet queues): log in as root, or install sudo"
    exec sudo -- "$root/tests/run.sh" "$part" "$@"
fi

# What each part takes from Debian. The compiler and the headers are netfilterqueue's.
packages="nftables iproute2 util-linux gcc libc6-dev python3 python3-dev python3-venv libnetfilter-queue-dev"
unit="iptables bash zsh fish mandoc groff shellcheck systemd tmux tshark prometheus"
deb="dpkg-dev binutils lintian"
rpm="rpm rpmlint binutils"
arch="makepkg pacman-package-manager libarchive-tools fakeroot file zstd binutils"
lab="coturn stun-client wireguard-go wireguard-tools openvpn openssl procps curl openssh-client dropbear-bin dbus-daemon dbus-bin polkitd xvfb dunst syncthing dnsmasq-base dhcpcd-base radvd prometheus prometheus-node-exporter systemd-journal-remote"
browser="chromium firefox-esr"
vm="qemu-system-x86 qemu-utils mmdebstrap debian-archive-keyring e2fsprogs cpio kmod ansible-core"
case $part in
    unit) packages="$packages $unit $deb" ;;
    lab | matrix | attacks) packages="$packages $lab" ;;
    bench) packages="$packages $lab iptables" ;;
    browser | calls | refusals | demo) packages="$packages $lab $browser" ;;
    vm) packages="$packages $lab $vm $deb" ;;
    deb) packages="$packages $deb" ;;
    container) packages="$packages $lab mmdebstrap debian-archive-keyring buildah crun" ;;
    rpm) packages="$packages $rpm" ;;
    arch) packages="$packages $arch" ;;
    all) packages="$packages $unit $lab $browser $vm $deb" ;;
esac
missing=
for package in $packages; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || fail "needs, by your distribution's names:$missing"
    printf 'run.sh: installing%s ...\n' "$missing"
    # shellcheck disable=SC2086 # a list
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } \
        >/tmp/stunwall-tests-apt.log 2>&1 || { tail -n 20 /tmp/stunwall-tests-apt.log >&2; fail "apt-get failed"; }
fi

venv=$root/.venv
python=/usr/bin/python3
stamp=$venv/$(cat "$root/pyproject.toml" "$root"/systemd/python/*.txt | cksum | tr ' ' -)
if [ ! -e "$stamp" ]; then
    printf 'run.sh: making %s ...\n' "$venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    # The versions that users get, from the wheel, so that it is tried whole; the tests then run the checkout's own files.
    PIP_QUIET=2 "$root/systemd/python/install.sh" "$venv/bin/pip"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "${root}[test]"
    touch "$stamp"
fi
cd "$root"
PATH=$venv/bin:$PATH
export PATH PYTHONPATH="$root/agent:$root/tests"
# Hundreds of tests start a command or a daemon: none of them should have to compile it anew, nor write into the checkout.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX="$venv/bytecode"

# Processes, mounts and networks of the tests live in namespaces that end with this command, whatever ends it.
isolated() {
    unshare --mount --net --pid --fork --kill-child --mount-proc sh -c '
        mount -t tmpfs none /run
        mkdir /run/netns /run/wireguard
        ip link set lo up
        export STUNWALL_LAB=1
        exec "$@"' sh "$@"
}

checks() {
    ruff check .
    ruff format --check .
    mypy
}

case $part in
    demo) isolated python -m lab.demo ;;
    matrix) isolated python -m lab.matrix "$@" ;;
    calls) isolated python -m browser.calls "$@" ;;
    refusals) isolated python -m bench.refusals "$@" ;;
    bench)
        python -c 'import matplotlib' 2>/dev/null || pip install --quiet --disable-pip-version-check "${root}[bench]"
        # Unpacked, not installed: its service would start, and filter what this machine sends.
        opensnitch=$venv/opensnitch
        if [ ! -d "$opensnitch" ]; then
            mkdir -p "$opensnitch.deb"
            (cd "$opensnitch.deb" && apt-get -qq download opensnitch) || fail "apt-get could not download opensnitch"
            dpkg -x "$opensnitch.deb"/opensnitch_*.deb "$opensnitch"
        fi
        PATH=$PATH:$opensnitch/usr/bin
        isolated python -m bench "$@"
        ;;
    attacks) isolated python -m lab.scoreboard "$@" ;;
    deb)
        folder=${1-$root/build}
        # lintian accepts neither root nor a host without a domain as the maintainer.
        export DEBFULLNAME="${DEBFULLNAME:-tests}" DEBEMAIL="${DEBEMAIL:-tests@packages.test}"
        "$root/systemd/deb/build.sh" "$folder"
        # Once more from other folders and with other settings: the same bytes.
        other=$(mktemp -d)
        trap 'rm -rf -- "$other"' EXIT
        cp -r agent rules systemd pyproject.toml ./*.md LICENSE "$other"
        SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
        export SOURCE_DATE_EPOCH
        again=$(umask 077 && TMPDIR=$other TZ=Asia/Tokyo LC_ALL=C.UTF-8 "$other/systemd/deb/build.sh" "$other/build")
        sha256sum "$folder/${again##*/}" "$again"
        cmp "$folder/${again##*/}" "$again"
        lintian --allow-root --fail-on error "$folder/${again##*/}"
        ;;
    rpm)
        file=$("$root/systemd/rpm/build.sh" "${1-$root/build}")
        echo "$file"
        rpmlint -c systemd/rpm/rpmlint.toml "$file" systemd/rpm/stunwall.spec
        ;;
    arch)
        # makepkg does not run as root. Debian's pacman knows none of the packages that are there.
        made=$(mktemp -d)
        trap 'rm -rf -- "$made"' EXIT
        chown nobody "$made"
        SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
        export SOURCE_DATE_EPOCH
        HOME=$made TMPDIR=$made MAKEPKG_OPTIONS=--nodeps \
            setpriv --reuid nobody --regid nogroup --clear-groups "$root/systemd/arch/build.sh" "$made/built" >/dev/null
        mkdir -p "${1-$root/build}"
        cp "$made"/built/*.pkg.tar.zst "${1-$root/build}"
        pacman -Qip "$made"/built/*.pkg.tar.zst
        ;;
    unit) checks; isolated python -m pytest tests/unit "$@" ;;
    fuzz)
        end=$(($(date +%s) + ${1-3600}))
        while :; do
            isolated python -m pytest -q -m hypothesis --hypothesis-profile=fuzz tests/unit/fuzz tests/unit/wall/test_agreement.py
            [ "$(date +%s)" -lt "$end" ] || break
        done
        ;;
    lab | browser) isolated python -m pytest "tests/$part" "$@" ;;
    container) python -m container.image; isolated python -m pytest tests/container "$@" ;;
    vm) python -m vm.prepare; isolated python -m pytest tests/vm "$@" ;;
    all)
        # Emulated machines beside tests that mostly wait; each lane builds its images and packages, or waits for the other.
        # The browsers, which take much at once, come when one of the machines has ended. What the lanes say comes after the
        # rest.
        said=$(mktemp -d)
        lanes=
        begin() { # begin NAME COMMAND: in the background, with what it prints in a file
            name=$1; shift
            setsid "$@" >"$said/$name" 2>&1 &
            lanes="$lanes -$!"
        }
        trap 'exit 130' INT
        trap 'exit 143' TERM HUP
        # KILL, as `unshare` heeds nothing less; its namespaces end with it.
        trap 'kill -KILL $lanes 2>/dev/null || true; rm -rf "$said"' EXIT
        failed=0
        checks
        # These files of the lab mostly wait. They come last in the lane that ends first.
        waiting="test_allow or test_inside"
        # These take minutes of emulation, so each is tried on one of the two systems here, and on both by
        # `run.sh vm`.
        on_6_12="test_boot or test_doctor or test_vrf or ipsec_by_policies"
        on_6_1="test_shutdown or test_polkit or rescue or wireguard_what_would_bypass or around_wireguard"
        # shellcheck disable=SC2016 # for the inner shell
        begin 6.1 sh -c '
            waiting=$1 on_6_12=$2; shift 2
            "$0" vm --kernel 6.1 -m "not any_kernel and not thorough" -k "not ($on_6_12)" "$@" || failed=$?
            "$0" browser -m "not thorough" "$@" || failed=$?
            "$0" lab -m "not thorough" -k "$waiting" "$@" || failed=$?
            exit "${failed-0}"' "$root/tests/run.sh" "$waiting" "$on_6_12" "$@"
        begin 6.12 "$root/tests/run.sh" vm --kernel 6.12 -m "not older and not thorough" -k "not ($on_6_1)" "$@"
        isolated python -m pytest tests/unit "$@" || failed=$?
        isolated python -m pytest tests/lab -m "not thorough" -k "not ($waiting)" "$@" || failed=$?
        for lane in $lanes; do wait "${lane#-}" || failed=$?; done
        cat "$said"/*
        exit "$failed"
        ;;
esac
