#!/bin/sh
# Run by stunwall.service when the daemon has ended. Only where somebody stops the service for good the wall goes:
# at a restart or an upgrade the job is another one, at a crash there is none, and where the system goes down, for good
# or to its rescue, the wall stays to the end.
set -eu
case $(systemctl is-system-running) in stopping | maintenance) exit 0 ;; esac
jobs=$(systemctl list-jobs --no-legend --plain)
job() { printf '%s\n' "$jobs" | grep -Eq "[[:space:]]$1[[:space:]]+$2[[:space:]]"; }
if ! job 'stunwall\.service' stop || job '(rescue|emergency)\.target' start; then exit 0; fi
/opt/stunwall/bin/stunwalld --stopped
# So that the next start puts the wall up, also where the daemon can't. Its job waits for the one that runs this.
nft list table inet stunwall >/dev/null 2>&1 || systemctl --no-block stop stunwall-wall.service
