#!/bin/sh
# Removes stunwall: service, rules, environment. Keeps the configuration and the record; --purge removes them, too.
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
if [ -e /usr/lib/stunwall/bin/stunwalld ]; then
    fail "the package stunwall is installed: remove the package (apt remove stunwall, or apt purge stunwall; dnf remove or pacman -R)"
fi

if [ -d /run/systemd/system ]; then
    systemctl disable --quiet --now stunwall.service stunwall-wall.service 2>/dev/null || true
    systemctl disable --quiet --now stunwall-metrics.timer 2>/dev/null || true
fi
# One in the foreground would put back what is removed here.
for process in /proc/[0-9]*; do
    if [ "$(cat "$process/comm" 2>/dev/null)" = stunwalld ] &&
        [ "$(readlink "$process/ns/net")" = "$(readlink /proc/self/ns/net)" ]; then
        fail "stunwalld runs as process ${process#/proc/}: stop it, then run this again"
    fi
done
# A daemon that was killed leaves the tables and, with mode = "redirect", routing rules and routes (rules/README.md).
for table in inet netdev; do
    if command -v nft >/dev/null && nft list table $table stunwall >/dev/null 2>&1; then
        nft delete table $table stunwall
    fi
done
if command -v ip >/dev/null; then
    for family in -4 -6; do
        ip $family rule flush table 4780 2>/dev/null || true
        ip $family route flush table 4780 2>/dev/null || true
    done
fi
# What `stunwall browsers set` wrote into policies of browsers: after this, nothing could take it back.
if [ -x /opt/stunwall/bin/stunwall ]; then
    /opt/stunwall/bin/stunwall browsers reset --everyone || printf 'stunwall: see above what stays.\n' >&2
fi
if [ -e /etc/apparmor.d/stunwalld ]; then
    if aa-enabled --quiet 2>/dev/null; then apparmor_parser -R /etc/apparmor.d/stunwalld 2>/dev/null || true; fi
    rm -f /etc/apparmor.d/stunwalld /etc/apparmor.d/disable/stunwalld /var/cache/apparmor/*/stunwalld
fi
rm -rf /opt/stunwall /opt/stunwall.old /run/stunwall
rm -f /usr/local/bin/stunwall /usr/local/sbin/stunwalld
rm -f /etc/sysusers.d/stunwall.conf /etc/tmpfiles.d/stunwall.conf /var/log/stunwall-install.log
rm -f /etc/systemd/system/stunwall.service /etc/systemd/system/stunwall-wall.service
rm -f /etc/systemd/system/stunwall-check.path /etc/systemd/system/stunwall-check.service
rm -f /etc/systemd/system/stunwall-proof.service
rm -f /etc/systemd/system/stunwall-sealed.target /etc/systemd/system/stunwall-unsealed.target
rm -f /etc/systemd/system/stunwall-metrics.service /etc/systemd/system/stunwall-metrics.timer
rm -f /var/lib/prometheus/node-exporter/stunwall.prom
rm -f /etc/systemd/user/stunwall-notify.service
rm -f /etc/systemd/system/nftables.service.d/stunwall.conf
share=/usr/local/share
rm -f $share/man/man1/stunwall.1 $share/man/man5/stunwall.toml.5 $share/man/man8/stunwalld.8
rm -f $share/bash-completion/completions/stunwall $share/bash-completion/completions/stunwalld
rm -f $share/zsh/site-functions/_stunwall $share/applications/stunwall-notify.desktop
rm -f /usr/local/lib/systemd/catalog/stunwall.catalog /usr/share/polkit-1/actions/org.stunwall.policy
rm -f /etc/fish/completions/stunwall.fish /etc/fish/completions/stunwalld.fish
# Folders that the installation made, if they are empty.
for folder in $share/man/man1 $share/man/man5 $share/man/man8 $share/bash-completion/completions \
    $share/bash-completion $share/zsh/site-functions $share/zsh $share/applications \
    /usr/local/lib/systemd/catalog /usr/local/lib/systemd \
    /etc/fish/completions /etc/fish /usr/share/polkit-1/actions /usr/share/polkit-1 \
    /etc/systemd/system/nftables.service.d /etc/systemd/user /etc/sysusers.d /etc/tmpfiles.d; do
    [ ! -d "$folder" ] || rmdir --ignore-fail-on-non-empty "$folder"
done
if [ -d /run/systemd/system ]; then
    journalctl --update-catalog || true
    systemctl daemon-reload
    systemctl reset-failed stunwall.service stunwall-wall.service stunwall-check.service stunwall-proof.service \
        stunwall-metrics.service 2>/dev/null || true
fi

if [ "${1-}" = --purge ]; then
    rm -rf /etc/stunwall /var/lib/stunwall
    rm -f /etc/apparmor.d/local/stunwalld
    if getent passwd stunwall >/dev/null; then userdel stunwall 2>/dev/null || true; fi
    if getent group stunwall >/dev/null; then groupdel stunwall || true; fi
    printf 'stunwall: removed, with its configuration and record. STUN is free to leave by any interface.\n'
else
    printf 'stunwall: removed. STUN is free to leave by any interface.\n'
    printf 'Kept: /etc/stunwall, /var/lib/stunwall and the user stunwall (uninstall.sh --purge removes them).\n'
fi
