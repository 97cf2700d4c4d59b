#!/bin/sh
# Removes stunwall: service, rules, environment. The configuration and the record stay; --purge takes them too.
set -eu

fail() { printf 'stunwall: %s\n' "$*" >&2; exit 1; }

case "${1-}" in
    "" | --purge) ;;
    *) fail "usage: uninstall.sh [--purge]" ;;
esac
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "this needs root: log in as root, or install sudo"
    exec sudo -- "$0" "$@"
fi

if [ -d /run/systemd/system ]; then
    systemctl disable --quiet --now stunwall.service stunwall-wall.service 2>/dev/null || true
    rm -f /etc/systemd/system/stunwall.service /etc/systemd/system/stunwall-wall.service
    systemctl daemon-reload
fi
# A daemon that was killed leaves its table.
if command -v nft >/dev/null && nft list table inet stunwall >/dev/null 2>&1; then
    nft delete table inet stunwall
fi
rm -rf /opt/stunwall /etc/sysusers.d/stunwall.conf /run/stunwall /var/log/stunwall-install.log
rm -f /usr/local/bin/stunwall /usr/local/sbin/stunwalld

if [ "${1-}" = --purge ]; then
    rm -rf /etc/stunwall /var/lib/stunwall
    if getent passwd stunwall >/dev/null; then userdel stunwall 2>/dev/null; fi
    if getent group stunwall >/dev/null; then groupdel stunwall; fi
    printf 'stunwall: removed, with its configuration and record. STUN is free to leave by any interface.\n'
else
    printf 'stunwall: removed. STUN is free to leave by any interface.\n'
    printf 'Kept: /etc/stunwall, /var/lib/stunwall and the user stunwall (uninstall.sh --purge removes them).\n'
fi
