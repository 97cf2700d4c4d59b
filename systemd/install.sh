#!/bin/sh
# Sets up stunwall on Debian or Ubuntu and starts it: packages, its own Python environment in /opt/stunwall,
# user, configuration, rules, service. Run it again to upgrade: configuration and record are kept.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
home=/opt/stunwall

say() { printf 'stunwall: %s\n' "$*"; }
fail() { printf 'stunwall: %s\n' "$*" >&2; exit 1; }

if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "this needs root: log in as root, or install sudo"
    exec sudo -- "$root/systemd/install.sh" "$@"
fi

command -v apt-get >/dev/null || fail "only Debian, Ubuntu and their kin for now: apt-get was not found"

say "installing the packages it needs (nftables, Python, a compiler for netfilterqueue) ..."
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install -y --no-install-recommends \
    nftables ca-certificates gcc libc6-dev python3 python3-dev python3-venv libnetfilter-queue-dev; } \
    >/var/log/stunwall-install.log 2>&1 ||
    { tail -n 20 /var/log/stunwall-install.log >&2; fail "apt-get failed; /var/log/stunwall-install.log has it all"; }

# The distribution's own Python: one that belongs to a user may vanish.
python=/usr/bin/python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed, $("$python" --version) found: upgrade to Debian 12, Ubuntu 24.04 or newer"

say "building its environment in $home (a minute) ..."
# Built beside the old one: an upgrade that fails leaves what runs as it is.
new=$(mktemp -d "$home.XXXXXX")
trap 'rm -rf -- "$new"' EXIT
chmod 755 "$new"
{ "$python" -m venv "$new" && "$new/bin/pip" install --disable-pip-version-check "$root"; } \
    >>/var/log/stunwall-install.log 2>&1 ||
    { tail -n 20 /var/log/stunwall-install.log >&2; fail "pip failed; /var/log/stunwall-install.log has it all"; }
install -m 644 "$root/rules/stunwall.nft" "$root/README.md" "$root/SECURITY.md" "$new/"
# The scripts name the interpreter by its path.
grep -rIl --exclude-dir=lib -- "$new" "$new" | xargs -r sed -i "s|$new|$home|g"

getent passwd stunwall >/dev/null ||
    useradd --system --user-group --home-dir /var/lib/stunwall --shell /usr/sbin/nologin stunwall
install -d -m 755 /etc/stunwall /usr/local/bin /usr/local/sbin
install -d -m 775 -o root -g stunwall /etc/stunwall/conf.d
install -d -m 750 -o stunwall -g stunwall /var/lib/stunwall
[ -e /etc/stunwall/stunwall.toml ] || install -m 644 "$root/systemd/stunwall.toml" /etc/stunwall/stunwall.toml

# The old environment goes only when the new one is whole.
if [ -e "$home" ]; then rm -rf -- "$home.old"; mv -- "$home" "$home.old"; fi
mv -- "$new" "$home"
rm -rf -- "$home.old"
ln -sf "$home/bin/stunwall" /usr/local/bin/stunwall
ln -sf "$home/bin/stunwalld" /usr/local/sbin/stunwalld
stunwall config check >/dev/null || fail "the configuration is wrong (above): mend it, then run this again"

if [ ! -d /run/systemd/system ]; then
    say "systemd does not run this machine: stunwalld now runs here, in the foreground. Ctrl-C ends it."
    say "A line follows for each blocked attempt; 'stunwall status' in another terminal tells the rest."
    exec "$home/bin/stunwalld"
fi

install -m 644 "$root/systemd/stunwall-wall.service" "$root/systemd/stunwall.service" /etc/systemd/system/
install -D -m 644 "$root/systemd/sysusers.conf" /etc/sysusers.d/stunwall.conf
systemctl enable --quiet stunwall-wall.service stunwall.service
# An upgrade kills the old daemon, for one that is told to stop would take the wall down: nothing leaks between.
mkdir -p /run/systemd/system/stunwall.service.d
printf '[Service]\nKillSignal=SIGKILL\n' >/run/systemd/system/stunwall.service.d/upgrade.conf
systemctl daemon-reload
started=yes
systemctl restart stunwall-wall.service stunwall.service || started=no
rm -r /run/systemd/system/stunwall.service.d
systemctl daemon-reload
[ $started = yes ] || { journalctl -u stunwall -n 10 --no-pager >&2; fail "the service did not start"; }
say "installed and running. To read its record without sudo: sudo usermod -aG stunwall \$USER, and log in again."
stunwall status || true
