# bash completion for stunwall(1) and stunwalld(8). It does not run them, because Python starts too slowly.
# tests/unit/test_completion.py compares it with the commands.

_stunwall() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} at name path="" options words=""
    # `--config=FILE` arrives as three words.
    [[ $cur != = ]] || cur=
    [[ $prev != = ]] || prev=${COMP_WORDS[COMP_CWORD - 2]}
    COMPREPLY=()

    case $prev in
        --config) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --since) words="30m 2h 1d 7d 4w" ;;
        --protocol) words="udp tcp" ;;
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
        --limit | -n | --why | --to | --port | --from | --source-port | --app | --mark) return ;;
    esac
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
        return
    fi

    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            --config | --since | --limit | -n | --why | --to | --port | --from | --source-port | --protocol | --user | --unit | --app | --interface | --device | --uid | --mark)
                ((++at))
                [[ ${COMP_WORDS[at]} != = ]] || ((++at))
                ;;
            -*) ;;
            *) path+="${COMP_WORDS[at]} " ;;
        esac
    done
    options="--json --help"
    case $path in
        "") words="status log show explain vpn rules doctor pause resume reload allow config"; options="--config --version --help" ;;
        "log "*) options="--json --follow -f --since --limit -n --help" ;;
        "explain "*) options="--to --from --device --uid --mark --protocol -6 --json --help" ;;
        "rules "*) options="--nft --json --help" ;;
        "pause ") words="10m 30m 1h 2h" ;;
        "allow ") words="add list remove"; options=--help ;;
        "allow add "*) options="--why --to --port --from --source-port --protocol --user --unit --app --interface --json --help" ;;
        "config ") words=check; options=--help ;;
        "config check ")
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
