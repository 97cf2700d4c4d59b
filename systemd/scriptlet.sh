#!/bin/sh
# What the RPM and Arch's package do around a change, where dpkg has its scripts in deb/: scriptlet.sh STEP.
set -eu

units="stunwall-wall.service stunwall.service"
running() { [ -d /run/systemd/system ]; }
make_user_and_folders() {
    systemd-sysusers stunwall.conf
    # This fails in an image that is still being built, without /proc. The boot does it then.
    systemd-tmpfiles --create stunwall.conf || true
}
do_with_units() { # do_with_units VERB: either unit's restart leaves the wall up
    running || return 0
    systemctl daemon-reload
    # shellcheck disable=SC2086 # a list
    systemctl "$1" $units || {
        echo "stunwall: the service did not start. See \`systemctl status stunwall\` and \`stunwall config check\`." >&2
        echo "stunwall: systemd keeps trying. STUN outside the VPN is blocked meanwhile, if the rules are loaded." >&2
    }
}

case ${1-} in
    installed)
        make_user_and_folders
        # shellcheck disable=SC2086 # a list
        systemctl preset $units || true
        do_with_units start
        ;;
    upgraded) make_user_and_folders ;;
    # An upgrade stops nothing: the wall stays up, and the old daemon runs until the new one replaces it.
    replaced) do_with_units try-restart ;;
    removing)
        # shellcheck disable=SC2086 # a list
        systemctl --no-reload disable $units stunwall-metrics.timer || true
        if running; then
            systemctl stop stunwall.service stunwall-wall.service stunwall-metrics.timer || true
            stunwalld --take-down || nft delete table inet stunwall || true
        fi
        # What `stunwall browsers set` wrote into policies of browsers: after this, nothing could take it back.
        stunwall browsers reset --everyone || true
        rm -f /var/lib/prometheus/node-exporter/stunwall.prom
        ;;
    *)
        echo "usage: scriptlet.sh installed|upgraded|replaced|removing" >&2
        exit 1
        ;;
esac
