#!/bin/sh
# Run by stunwall.service when the daemon has ended. Only where somebody stops the service for good the wall goes:
# at a restart or an upgrade the job is another one, at a crash there is none, and at shutdown the wall stays to the end.
set -eu
[ "$(systemctl is-system-running)" != stopping ] || exit 0
systemctl list-jobs --no-legend --plain | grep -Eq '[[:space:]]stunwall\.service[[:space:]]+stop[[:space:]]' || exit 0
exec /opt/stunwall/bin/stunwalld --stopped
