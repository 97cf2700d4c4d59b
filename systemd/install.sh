#!/bin/sh
# Sets up stunwall and starts it: packages, its own Python environment in /opt/stunwall, user, configuration, rules,
# service, manual pages, completion. Run it again to upgrade: the wall stays up, configuration and record are kept.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
home=/opt/stunwall
log=/var/log/stunwall-install.log
umask 022  # the daemon, which is not root, reads what is made here

say() { printf 'stunwall: %s\n' "$*"; }
fail() { printf 'stunwall: %s\n' "$*" >&2; exit 1; }
logged() { # logged WHAT COMMAND...: its output goes to the log, the end of it to the user if it fails
    what=$1
    shift
    "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "$what failed, see above. The whole output is in $log. Fix the cause, then run this again"; }
}

if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "this needs root: log in as root, or install sudo"
    exec sudo -- "$root/systemd/install.sh" "$@"
fi
if [ -e /usr/lib/stunwall/bin/stunwalld ]; then
    fail "the package stunwall is installed: upgrade the package, or remove it first (apt remove stunwall; dnf remove or pacman -R)"
fi
rm -f "$log"  # if others can write to the folder, it may be a link that they made

# nft, a compiler and headers for netfilterqueue, and Python.
if command -v apt-get >/dev/null; then
    say "installing the packages it needs with apt-get ..."
    export DEBIAN_FRONTEND=noninteractive
    logged "apt-get update" apt-get update
    logged "apt-get install" apt-get install -y --no-install-recommends nftables ca-certificates gcc libc6-dev \
        python3 python3-dev python3-venv libnetfilter-queue-dev
elif command -v dnf >/dev/null; then
    say "installing the packages it needs with dnf ..."
    logged "dnf" dnf install -y nftables gcc glibc-devel python3 python3-devel python3-pip libnetfilter_queue-devel
elif command -v pacman >/dev/null; then
    say "installing the packages it needs with pacman ..."
    logged "pacman" pacman -S --needed --noconfirm nftables gcc python libnetfilter_queue
else
    say "there is no apt-get, dnf or pacman, so these must be installed already: nft, gcc, Python 3.11 with headers"
    say "and venv, libnetfilter_queue with headers"
    for tool in nft gcc python3; do
        command -v $tool >/dev/null || fail "$tool was not found: install it with your distribution's package manager"
    done
fi

# The distribution's own Python: one that belongs to a user may vanish.
python=/usr/bin/python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed, $("$python" --version) found: upgrade to Debian 12, Ubuntu 24.04 or newer"

say "building its Python environment in $home (takes a minute) ..."
# Built next to the old environment, so that an upgrade that fails leaves the running version alone.
new=$(mktemp -d "$home.XXXXXX")
trap 'rm -rf -- "$new"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 755 "$new"
logged "venv" "$python" -m venv "$new"
logged "pip" "$root/systemd/python/install.sh" "$new/bin/pip"
install -m 644 "$root"/rules/*.nft "$root/README.md" "$root/SECURITY.md" \
    "$root/systemd/prometheus/stunwall.rules.yml" "$root/systemd/grafana/stunwall.json" "$new/"
install -m 755 "$root/systemd/stopped.sh" "$new/"
# The scripts name the interpreter by its path.
grep -rIl --exclude-dir=lib -- "$new" "$new" | xargs -r sed -i "s|$new|$home|g"

if command -v systemd-sysusers >/dev/null; then
    install -D -m 644 "$root/systemd/sysusers.conf" /etc/sysusers.d/stunwall.conf
    logged "systemd-sysusers" systemd-sysusers stunwall.conf
elif ! getent passwd stunwall >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/stunwall --shell /usr/sbin/nologin stunwall
fi
install -d -m 755 /etc/stunwall /usr/local/bin /usr/local/sbin
install -d -m 755 -o stunwall -g root /etc/stunwall/conf.d
install -d -m 750 -o stunwall -g stunwall /var/lib/stunwall
[ -e /etc/stunwall/stunwall.toml ] || install -m 644 "$root/systemd/stunwall.toml" /etc/stunwall/stunwall.toml

"$new/bin/python" -m stunwall.cli config check >/dev/null ||
    fail "the configuration is wrong (see above): correct it, then run this again. Nothing was changed"

# The old environment is removed only when the new one is complete and on the disk.
sync -f "$new"
rm -rf -- "$home.old"
if [ -e "$home" ]; then mv -- "$home" "$home.old"; fi
mv -- "$new" "$home"
rm -rf -- "$home.old"
if command -v restorecon >/dev/null; then restorecon -R "$home"; fi
ln -sf "$home/bin/stunwall" /usr/local/bin/stunwall
ln -sf "$home/bin/stunwalld" /usr/local/sbin/stunwalld
for page in "$root"/systemd/man/*.[158]; do
    install -D -m 644 "$page" "/usr/local/share/man/man${page##*.}/$(basename "$page")"
done
share=/usr/local/share
install -D -m 644 "$root/systemd/completion/stunwall.bash" $share/bash-completion/completions/stunwall
ln -sf stunwall $share/bash-completion/completions/stunwalld
install -D -m 644 "$root/systemd/completion/_stunwall" $share/zsh/site-functions/_stunwall
# So that `journalctl -x` explains the daemon's entries.
install -D -m 644 "$root/systemd/stunwall.catalog" /usr/local/lib/systemd/catalog/stunwall.catalog
if command -v journalctl >/dev/null; then journalctl --update-catalog; fi
install -D -m 644 "$root/systemd/stunwall-notify.desktop" $share/applications/stunwall-notify.desktop
# polkit reads no folder of /usr/local before version 124.
install -D -m 644 "$root/systemd/org.stunwall.policy" /usr/share/polkit-1/actions/org.stunwall.policy
# fish looks in no folder of /usr/local by itself.
install -D -m 644 "$root/systemd/completion/stunwall.fish" /etc/fish/completions/stunwall.fish
ln -sf stunwall.fish /etc/fish/completions/stunwalld.fish

if [ ! -d /run/systemd/system ]; then
    say "this machine does not run systemd: stunwalld now runs here, in the foreground. Ctrl-C stops it."
    say "It prints a line for each blocked attempt. 'stunwall status' in another terminal shows its state."
    exec "$home/bin/stunwalld"
fi

if command -v apparmor_parser >/dev/null; then
    install -D -m 644 "$root/systemd/apparmor/stunwalld" /etc/apparmor.d/stunwalld
    # Without cached bytes, which may be older than what the profile includes.
    if aa-enabled --quiet 2>/dev/null && ! apparmor_parser -r -T -W /etc/apparmor.d/stunwalld; then
        say "AppArmor did not take /etc/apparmor.d/stunwalld, see above. The daemon runs without a profile." >&2
    fi
fi
install -D -m 644 "$root/systemd/tmpfiles.conf" /etc/tmpfiles.d/stunwall.conf
install -m 644 "$root/systemd/stunwall-wall.service" "$root/systemd/stunwall.service" /etc/systemd/system/
install -m 644 "$root/systemd/stunwall-check.path" "$root/systemd/stunwall-check.service" \
    "$root/systemd/stunwall-proof.service" "$root/systemd/stunwall-sealed.target" \
    "$root/systemd/stunwall-unsealed.target" "$root/systemd/stunwall-metrics.service" \
    "$root/systemd/stunwall-metrics.timer" /etc/systemd/system/
install -D -m 644 "$root/systemd/stunwall-notify.service" /etc/systemd/user/stunwall-notify.service
install -D -m 644 "$root/systemd/nftables-drop-in.conf" /etc/systemd/system/nftables.service.d/stunwall.conf
systemctl daemon-reload
systemctl enable --quiet stunwall-wall.service stunwall.service
# Neither removes the wall: the rules are replaced in one transaction, and stopped.sh sees that it is a restart.
systemctl restart stunwall-wall.service stunwall.service || {
    journalctl -u stunwall-wall -u stunwall -n 10 --no-pager >&2
    # systemd.exec(5): NAMESPACE; systemd 257 says RUNTIME_DIRECTORY.
    case $(systemctl show -p ExecMainStatus --value stunwall.service) in 226 | 233)
        say "this container gives services no mount namespace, so the daemon cannot start. The rules are loaded: STUN is" >&2
        say "dropped. Allow nesting for the container (LXC, Incus, Proxmox), or install stunwall on its host." >&2
        ;;
    esac
    fail "the service did not start, see above. 'sudo stunwall doctor' looks for the cause"
}
say "installed and running. To use it without sudo, run: sudo usermod -aG stunwall \$USER, then log out and back in."
"$home/bin/stunwall" status || true
