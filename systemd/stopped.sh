#!/bin/sh
# Run by stunwall.service when the daemon has ended. The wall is removed only if somebody stops the service for good.
# A restart or an upgrade has another job, a crash has none, and while the system goes down, or to its rescue system,
# the wall stays.
set -eu
case $(systemctl is-system-running) in stopping | maintenance) exit 0 ;; esac
jobs=$(systemctl list-jobs --no-legend --plain)
job() { printf '%s\n' "$jobs" | grep -Eq "[[:space:]]$1[[:space:]]+$2[[:space:]]"; }
if ! job 'stunwall\.service' stop || job '(rescue|emergency)\.target' start; then exit 0; fi
/opt/stunwall/bin/stunwalld --stopped
# So that the next start loads the wall even if the daemon cannot. This job waits for the one that runs this script.
nft list table inet stunwall >/dev/null 2>&1 || systemctl --no-block stop stunwall-wall.service
