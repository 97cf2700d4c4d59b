# bash completion for stunwall(1) and stunwalld(8). It does not run them, because Python starts too slowly.
# tests/unit/test_completion.py compares it with the commands.

_stunwall() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} at name path="" options words=""
    local filters="--since --until --app --unit --user --to --verdict --reason --interface"
    local levels="default default_public_and_private_interfaces default_public_interface_only disable_non_proxied_udp"
    local browsers="chromium chrome brave vivaldi edge opera firefox librewolf zen mullvad tor"
    # `--config=FILE` arrives as three words.
    [[ $cur != = ]] || cur=
    [[ $prev != = ]] || prev=${COMP_WORDS[COMP_CWORD - 2]}
    COMPREPLY=()

    case $prev in
        --config) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --for | --wait) words="10m 30m 1h 2h" ;;
        --every-vpn-up) words="on off" ;;
        --output | --html) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --since | --until) words="30m 2h 1d 7d 4w" ;;
        --verdict) words="accepted allowed blocked exposed gap leak paused redirected reloaded resumed revoked" ;;
        --by) words="app client destination day reason verdict" ;;
        --format) words="json csv pcapng ecs" ;;
        --protocol) words="udp tcp" ;;
        --browser) [[ " ${COMP_WORDS[*]} " != *" browsers "* ]] || words="$browsers" ;;
        --level) words="$levels" ;;
        # Unlike `compgen -W`, this never expands names from the system.
        --interface | --device)
            for at in /sys/class/net/*/; do
                at=${at%/}
                [[ ${at##*/} != "$cur"* ]] || { printf -v name %q "${at##*/}"; COMPREPLY+=("$name"); }
            done
            return
            ;;
        --user | --uid) mapfile -t COMPREPLY < <(compgen -u -- "$cur"); return ;;
        --unit)
            while read -r at _; do
                [[ $at != "$cur"* ]] || { printf -v name %q "$at"; COMPREPLY+=("$name"); }
            done < <(systemctl list-units --all --type=service,slice --plain --no-legend 2>/dev/null)
            return
            ;;
        --limit | -n | --why | --to | --port | --from | --source-port | --app | --mark | --reason) return ;;
    esac
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
        return
    fi

    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            --config | --html | --since | --limit | -n | --why | --to | --port | --from | --source-port | --protocol | --user | --unit | --app | --interface | --for | --wait | --every-vpn-up | --device | --uid | --mark | --level)
                ((++at))
                [[ ${COMP_WORDS[at]} != = ]] || ((++at))
                ;;
            --browser)  # a flag of `check`
                if [[ $path == "browsers "* ]]; then
                    ((++at))
                    [[ ${COMP_WORDS[at]} != = ]] || ((++at))
                fi
                ;;
            -*) ;;
            *) path+="${COMP_WORDS[at]} " ;;
        esac
    done
    options="--json --help"
    case $path in
        "watch ") options="--redact --help" ;;
        "") words="status log stats export report watch show explain check browsers exposure metrics notify vpn rules doctor pause resume reload allow config"; options="--config --version --help" ;;
        "status ") options="--redact --json --waybar --help" ;;
        "log "*) options="--redact --json --follow -f $filters --limit -n --help" ;;
        "stats "*) options="--redact --json --by $filters --limit -n --help" ;;
        "export "*) options="--redact --format --output $filters --help" ;;
        "notify "*) options="--for --json --help" ;;
        "explain "*) options="--redact --to --from --device --uid --mark --protocol -6 --json --help" ;;
        "check "*) options="--redact --all --forecast --browser --print-url --server --wait --every-vpn-up --json --help" ;;
        "browsers ") words="set site reset"; options="--json --redact --help" ;;
        "browsers set ") words="$levels"; options="--browser --user --json --help" ;;
        "browsers site ") words=allow; options=--help ;;
        "browsers site allow "*) options="--level --browser --json --help" ;;
        "browsers set "*) options="--browser --user --json --help" ;;
        "browsers reset "*) options="--user --everyone --json --help" ;;
        "metrics "*) options="--write --help" ;;
        "exposure "*) options="--redact --since --json --help" ;;
        "report "*) options="--html --since --no-redact --help" ;;
        "show "* | "vpn "* | "doctor "* | "allow list "*) options="--redact --json --help" ;;
        "rules "*) options="--redact --nft --json --help" ;;
        "pause ") words="10m 30m 1h 2h" ;;
        "allow ") words="add list remove preset"; options=--help ;;
        "allow preset ")
            words="list coturn headscale jitsi jitsi-videobridge netbird netmaker nextcloud-talk snowflake snowflake-proxy steam syncthing tailscale"
            options="--to --user --for --dry-run --json --help"
            ;;
        "allow preset "*) options="--to --user --for --dry-run --json --help" ;;
        "allow add "*) options="--why --to --port --from --source-port --protocol --user --unit --app --interface --for --json --help" ;;
        "config ") words=check; options=--help ;;
        "config check ")
            options="--redact --json --help"
            if [[ $cur != -* ]]; then
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                return
            fi
            ;;
    esac
    [[ $cur != -* ]] || words=$options
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

_stunwalld() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    [[ $cur != = ]] || cur=
    [[ $prev != = ]] || prev=${COMP_WORDS[COMP_CWORD - 2]}
    if [[ $prev == --config ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    else
        mapfile -t COMPREPLY < <(
            compgen -W "--config --version --leave-wall --take-down --stopped --help -h" -- "$cur"
        )
    fi
}

complete -F _stunwall stunwall
complete -F _stunwalld stunwalld
