# fish completion for stunwall(1) and stunwalld(8). It does not run them, because Python starts too slowly.
# tests/unit/test_completion.py compares it with the commands.

function __stunwall_path --description 'The command before the cursor, such as "allow add"'
    set -l path
    set -l skip 1 # the program
    for word in (commandline --tokenize --current-process --cut-at-cursor)
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case --config --html --since --limit -n --why --to --port --from --source-port --protocol --user --unit --app --interface --for --wait --every-vpn-up --device --uid --mark --level
                set skip 1
            case --browser # a flag of `check`
                contains browsers $path; and set skip 1
            case '-*'
            case '*'
                set --append path $word
        end
    end
    string join ' ' -- $path
end

function __stunwall_at --description 'Whether exactly this command was given, without arguments'
    test "$(__stunwall_path)" = "$argv"
end

function __stunwall_in --description 'Whether this command was given'
    string match --quiet -- "$argv *" "$(__stunwall_path) "
end

function __stunwall_units
    systemctl list-units --all --type=service,slice --plain --no-legend 2>/dev/null | string replace --regex ' .*' ''
end

function __stunwall_interfaces
    string replace --regex '.*/(.*)/$' '$1' -- /sys/class/net/*/
end

complete --command stunwall --no-files
complete --command stunwall --long-option help --description 'Show the help'
complete --command stunwall --condition '__stunwall_at' --long-option config --require-parameter --force-files --description 'Configuration file'
complete --command stunwall --condition '__stunwall_at' --long-option version --description 'Print the version'

complete --command stunwall --condition '__stunwall_at' --arguments status --description 'Show whether STUN can bypass the VPN'
complete --command stunwall --condition '__stunwall_at' --arguments log --description 'List what was blocked'
complete --command stunwall --condition '__stunwall_at' --arguments stats --description 'Sum up who was blocked, and where to'
complete --command stunwall --condition '__stunwall_at' --arguments export --description 'Write the record for other programs'
complete --command stunwall --condition '__stunwall_at' --arguments report --description 'Write a page about state, attempts and protection'
complete --command stunwall --condition '__stunwall_at' --arguments watch --description 'Watch the state and what is blocked, full-screen'
complete --command stunwall --condition '__stunwall_at' --arguments show --description 'Show one entry in full'
complete --command stunwall --condition '__stunwall_at' --arguments explain --description 'Explain why a packet bypasses the VPN'
complete --command stunwall --condition '__stunwall_at' --arguments check --description 'Prove on the wire whether STUN can bypass the VPN'
complete --command stunwall --condition '__stunwall_at' --arguments browsers --description 'Show what pages can learn from each browser'
complete --command stunwall --condition '__stunwall_at' --arguments exposure --description 'Show for how long STUN could leak'
complete --command stunwall --condition '__stunwall_at' --arguments metrics --description 'Print figures for Prometheus'
complete --command stunwall --condition '__stunwall_at' --arguments notify --description 'Show desktop notifications of what is blocked'
complete --command stunwall --condition '__stunwall_at' --arguments vpn --description 'Show which interfaces are the VPN, inside or a way out'
complete --command stunwall --condition '__stunwall_at' --arguments rules --description 'Show the rules loaded in the kernel'
complete --command stunwall --condition '__stunwall_at' --arguments doctor --description 'Find out why something does not work'
complete --command stunwall --condition '__stunwall_at' --arguments pause --description 'Let all STUN through for a while'
complete --command stunwall --condition '__stunwall_at' --arguments resume --description 'End a pause early'
complete --command stunwall --condition '__stunwall_at' --arguments reload --description 'Make the daemon read its configuration again'
complete --command stunwall --condition '__stunwall_at' --arguments allow --description 'Manage exceptions'
complete --command stunwall --condition '__stunwall_at' --arguments config --description 'Check the configuration'

for command in status log stats show explain check exposure notify vpn rules doctor pause resume reload 'allow add' 'allow list' 'allow remove' 'allow preset' 'config check'
    complete --command stunwall --condition "__stunwall_in $command" --long-option json --description 'Print JSON'
end
complete --command stunwall --condition '__stunwall_in status' --long-option waybar --description 'Print one line for a status bar'
complete --command stunwall --condition '__stunwall_in log' --short-option f --long-option follow --description 'Keep printing new entries until Ctrl-C'
complete --command stunwall --condition '__stunwall_in log' --long-option since --exclusive --arguments '30m 2h 1d 7d 4w' --description 'Only entries since then'
complete --command stunwall --condition '__stunwall_in log' --long-option until --exclusive --arguments '30m 2h 1d 7d 4w' --description 'Only entries until then'
complete --command stunwall --condition '__stunwall_in log' --long-option app --exclusive --description 'Only of this application, unit or program'
complete --command stunwall --condition '__stunwall_in log' --long-option unit --exclusive --description 'Only of this systemd unit'
complete --command stunwall --condition '__stunwall_in log' --long-option user --exclusive --arguments '(__fish_complete_users)' --description 'Only of this user'
complete --command stunwall --condition '__stunwall_in log' --long-option to --exclusive --description 'Only to this destination'
complete --command stunwall --condition '__stunwall_in log' --long-option verdict --exclusive --arguments 'accepted allowed blocked exposed gap leak paused redirected reloaded resumed revoked' --description 'Only with this verdict'
complete --command stunwall --condition '__stunwall_in log' --long-option reason --exclusive --description 'Only for this reason'
complete --command stunwall --condition '__stunwall_in log' --long-option interface --exclusive --arguments '(__stunwall_interfaces)' --description 'Only by this interface'
complete --command stunwall --condition '__stunwall_in stats' --long-option since --exclusive --arguments '30m 2h 1d 7d 4w' --description 'Only entries since then'
complete --command stunwall --condition '__stunwall_in stats' --long-option until --exclusive --arguments '30m 2h 1d 7d 4w' --description 'Only entries until then'
complete --command stunwall --condition '__stunwall_in stats' --long-option app --exclusive --description 'Only of this application, unit or program'
complete --command stunwall --condition '__stunwall_in stats' --long-option unit --exclusive --description 'Only of this systemd unit'
complete --command stunwall --condition '__stunwall_in stats' --long-option user --exclusive --arguments '(__fish_complete_users)' --description 'Only of this user'
complete --command stunwall --condition '__stunwall_in stats' --long-option to --exclusive --description 'Only to this destination'
complete --command stunwall --condition '__stunwall_in stats' --long-option verdict --exclusive --arguments 'accepted allowed blocked exposed gap leak paused redirected reloaded resumed revoked' --description 'Only with this verdict'
complete --command stunwall --condition '__stunwall_in stats' --long-option reason --exclusive --description 'Only for this reason'
complete --command stunwall --condition '__stunwall_in stats' --long-option interface --exclusive --arguments '(__stunwall_interfaces)' --description 'Only by this interface'
complete --command stunwall --condition '__stunwall_in export' --long-option since --exclusive --arguments '30m 2h 1d 7d 4w' --description 'Only entries since then'
complete --command stunwall --condition '__stunwall_in export' --long-option until --exclusive --arguments '30m 2h 1d 7d 4w' --description 'Only entries until then'
complete --command stunwall --condition '__stunwall_in export' --long-option app --exclusive --description 'Only of this application, unit or program'
complete --command stunwall --condition '__stunwall_in export' --long-option unit --exclusive --description 'Only of this systemd unit'
complete --command stunwall --condition '__stunwall_in export' --long-option user --exclusive --arguments '(__fish_complete_users)' --description 'Only of this user'
complete --command stunwall --condition '__stunwall_in export' --long-option to --exclusive --description 'Only to this destination'
complete --command stunwall --condition '__stunwall_in export' --long-option verdict --exclusive --arguments 'accepted allowed blocked exposed gap leak paused redirected reloaded resumed revoked' --description 'Only with this verdict'
complete --command stunwall --condition '__stunwall_in export' --long-option reason --exclusive --description 'Only for this reason'
complete --command stunwall --condition '__stunwall_in export' --long-option interface --exclusive --arguments '(__stunwall_interfaces)' --description 'Only by this interface'
complete --command stunwall --condition '__stunwall_in stats' --long-option by --exclusive --arguments 'app client destination day reason verdict' --description 'What to sum up by'
complete --command stunwall --condition '__stunwall_in stats' --short-option n --long-option limit --exclusive --description 'Only the most frequent'
complete --command stunwall --condition '__stunwall_in export' --long-option format --exclusive --arguments 'json csv pcapng ecs' --description 'What to write'
complete --command stunwall --condition '__stunwall_in export' --long-option output --require-parameter --description 'The file to write'
complete --command stunwall --condition '__stunwall_in log' --short-option n --long-option limit --exclusive --description 'Only the newest entries'
complete --command stunwall --condition '__stunwall_in status' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in log' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in stats' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in export' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in watch' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in show' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in explain' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in report' --long-option html --require-parameter --force-files --description 'The file to write'
complete --command stunwall --condition '__stunwall_in report' --long-option since --exclusive --arguments '2h 1d 7d 30d' --description 'Only the time since then'
complete --command stunwall --condition '__stunwall_in report' --long-option no-redact --description 'Show addresses, users and other names as they are'
complete --command stunwall --condition '__stunwall_in check' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in check' --long-option all --description 'Try every kind of message'
complete --command stunwall --condition '__stunwall_in check' --long-option forecast --description 'Send nothing; show which way packets would take'
complete --command stunwall --condition '__stunwall_in check' --long-option wait --exclusive --arguments '30s 3m 10m' --description 'Wait for a VPN, and repeat what is inconclusive'
complete --command stunwall --condition '__stunwall_in check' --long-option every-vpn-up --exclusive --arguments 'on off' --description 'Check by itself whenever the VPN comes up'
complete --command stunwall --condition '__stunwall_in check' --long-option browser --description 'Show what a web page can learn, in your own browser'
complete --command stunwall --condition '__stunwall_in check' --long-option print-url --description 'Do not open the browser, print the address'
complete --command stunwall --condition '__stunwall_in check' --long-option server --require-parameter --no-files --description 'Ask this STUN server which address it sees'
complete --command stunwall --condition '__stunwall_in metrics' --long-option write --require-parameter --force-files --description 'Replace this file at once'
complete --command stunwall --condition '__stunwall_in exposure' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in vpn' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in doctor' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in rules' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in allow list' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in config check' --long-option redact --description 'Replace addresses, users and other names'
complete --command stunwall --condition '__stunwall_in exposure' --long-option since --exclusive --arguments '2h 1d 7d 30d' --description 'Only the time since then'
complete --command stunwall --condition '__stunwall_in explain' --long-option to --exclusive --description 'Destination'
complete --command stunwall --condition '__stunwall_in explain' --long-option from --exclusive --description 'Address that its socket is bound to'
complete --command stunwall --condition '__stunwall_in explain' --long-option device --exclusive --arguments '(__stunwall_interfaces)' --description 'Interface that its socket is bound to'
complete --command stunwall --condition '__stunwall_in explain' --long-option uid --exclusive --arguments '(__fish_complete_users)' --description 'Its user'
complete --command stunwall --condition '__stunwall_in explain' --long-option mark --exclusive --description 'Its mark'
complete --command stunwall --condition '__stunwall_in explain' --long-option protocol --exclusive --arguments 'udp tcp' --description 'Its transport protocol'
complete --command stunwall --condition '__stunwall_in explain' --short-option 6 --description 'Take the IPv6 address of a name'
complete --command stunwall --condition '__stunwall_in notify' --long-option for --exclusive --arguments '10m 30m 1h 2h' --description 'How long Allow lasts'
complete --command stunwall --condition '__stunwall_in rules' --long-option nft --description 'Print them as nft does'
complete --command stunwall --condition '__stunwall_at pause' --arguments '10m 30m 1h 2h'

complete --command stunwall --condition '__stunwall_at allow' --arguments add --description 'Add an exception'
complete --command stunwall --condition '__stunwall_at allow' --arguments list --description 'List the exceptions in effect'
complete --command stunwall --condition '__stunwall_at allow' --arguments remove --description 'Remove an exception'
complete --command stunwall --condition '__stunwall_at allow' --arguments preset --description 'Add the exceptions of a well-known program'
complete --command stunwall --condition '__stunwall_at allow preset' --arguments 'list coturn headscale jitsi jitsi-videobridge netbird netmaker nextcloud-talk snowflake snowflake-proxy steam syncthing tailscale'
complete --command stunwall --condition '__stunwall_in allow preset' --long-option to --exclusive --description 'Only to this server'
complete --command stunwall --condition '__stunwall_in allow preset' --long-option user --exclusive --arguments '(__fish_complete_users)' --description 'Whose programs'
complete --command stunwall --condition '__stunwall_in allow preset' --long-option for --exclusive --arguments '10m 30m 1h 2h' --description 'How long; otherwise without end'
complete --command stunwall --condition '__stunwall_in allow preset' --long-option dry-run --description 'Only print what it would write'
complete --command stunwall --condition '__stunwall_in allow add' --long-option why --exclusive --description 'The reason, for whoever reads the configuration later'
complete --command stunwall --condition '__stunwall_in allow add' --long-option to --exclusive --description 'Destination address or network'
complete --command stunwall --condition '__stunwall_in allow add' --long-option port --exclusive --description 'Destination port'
complete --command stunwall --condition '__stunwall_in allow add' --long-option from --exclusive --description 'Sender\'s address or network, before source NAT'
complete --command stunwall --condition '__stunwall_in allow add' --long-option source-port --exclusive --description 'Source port'
complete --command stunwall --condition '__stunwall_in allow add' --long-option protocol --exclusive --arguments 'udp tcp' --description 'Transport protocol'
complete --command stunwall --condition '__stunwall_in allow add' --long-option user --exclusive --arguments '(__fish_complete_users)' --description 'Programs of this user'
complete --command stunwall --condition '__stunwall_in allow add' --long-option unit --exclusive --arguments '(__stunwall_units)' --description 'Programs of this systemd unit, or cgroup path; may be a glob'
complete --command stunwall --condition '__stunwall_in allow add' --long-option app --exclusive --description 'A desktop application'
complete --command stunwall --condition '__stunwall_in allow add' --long-option interface --exclusive --arguments '(__stunwall_interfaces)' --description 'Outgoing interface'
complete --command stunwall --condition '__stunwall_in allow add' --long-option for --exclusive --arguments '10m 30m 1h 2h' --description 'How long; otherwise without end'

complete --command stunwall --condition '__stunwall_at browsers' --arguments set --description 'Set what browsers show of addresses'
complete --command stunwall --condition '__stunwall_at browsers' --arguments reset --description 'Take back what was set'
complete --command stunwall --condition '__stunwall_at browsers' --arguments site --description 'Manage sites with a level of their own'
complete --command stunwall --condition '__stunwall_at browsers site' --arguments allow --description 'Let one site have a level of its own'
complete --command stunwall --condition '__stunwall_at browsers set' --arguments 'default default_public_and_private_interfaces default_public_interface_only disable_non_proxied_udp'
complete --command stunwall --condition '__stunwall_at browsers' --long-option redact --description 'Replace addresses, users and other names'
for command in 'browsers set' 'browsers reset' 'browsers site allow'
    complete --command stunwall --condition "__stunwall_in $command" --long-option json --description 'Print JSON'
end
complete --command stunwall --condition '__stunwall_at browsers' --long-option json --description 'Print JSON'
complete --command stunwall --condition '__stunwall_in browsers set' --long-option user --description 'Only for you, without root'
complete --command stunwall --condition '__stunwall_in browsers reset' --long-option user --description 'Only for you, without root'
complete --command stunwall --condition '__stunwall_in browsers reset' --long-option everyone --description 'As root, also what users have set'
complete --command stunwall --condition '__stunwall_in browsers set' --long-option browser --exclusive --arguments 'chromium chrome brave vivaldi edge opera firefox librewolf zen mullvad tor' --description 'Only this browser'
complete --command stunwall --condition '__stunwall_in browsers site allow' --long-option browser --exclusive --arguments 'chromium chrome brave vivaldi edge opera firefox librewolf zen mullvad tor' --description 'Only this browser'
complete --command stunwall --condition '__stunwall_in browsers site allow' --long-option level --exclusive --arguments 'default default_public_and_private_interfaces default_public_interface_only disable_non_proxied_udp' --description 'The level of this site'

complete --command stunwall --condition '__stunwall_at config' --arguments check --description 'Check a configuration file'
complete --command stunwall --condition '__stunwall_at config check' --force-files

complete --command stunwalld --no-files
complete --command stunwalld --short-option h --long-option help --description 'Print the options'
complete --command stunwalld --long-option config --require-parameter --force-files --description 'Configuration file'
complete --command stunwalld --long-option version --description 'Print the version'
complete --command stunwalld --long-option leave-wall --description 'Leave the wall up when stopped'
complete --command stunwalld --long-option take-down --description 'Remove what a stopped stunwalld left behind'
complete --command stunwalld --long-option stopped --description 'Like --take-down, unless leave_wall_on_stop = true'
