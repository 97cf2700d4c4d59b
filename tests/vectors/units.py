"""Units that set up firewalls before the network, reduced to what orders and starts them, with their origin.

`Before=shutdown.target` and `Conflicts=shutdown.target` are left out: they order nothing at boot.
"""

_DEFAULT_DEPENDENCIES = """[Unit]
Wants=network-pre.target
Before=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/nftables.conf
ExecReload=/usr/sbin/nft -f /etc/nftables.conf
ExecStop=/usr/sbin/nft flush ruleset
[Install]
WantedBy=multi-user.target
"""
_EARLY = _DEFAULT_DEPENDENCIES.replace("[Service]", "DefaultDependencies=no\n[Service]").replace(
    "multi-user.target", "sysinit.target"
)

FIREWALLS = {
    # Debian 12, package nftables 1.0.6
    "nftables.service of Debian": ("nftables.service", _EARLY),
    # Fedora's and Arch's; also in the repositories OpenMandrivaAssociation/nftables and pld-linux/nftables on GitHub
    "nftables.service of Fedora and Arch": ("nftables.service", _DEFAULT_DEPENDENCIES),
    # netfilter-devel, 2025-10-24, "[PATCH 5/9] tools: depend on `sysinit.target`"
    "nftables.service as nftables' developers plan it": (
        "nftables.service",
        _EARLY.replace("[Service]", "Requires=sysinit.target\nAfter=sysinit.target\n[Service]"),
    ),
    # archlinux/aur on GitHub, nftables.service: ordered by nothing
    "nftables.service without an order": (
        "nftables.service",
        _DEFAULT_DEPENDENCIES.replace("Wants=network-pre.target\nBefore=network-pre.target\n", ""),
    ),
    # xddxdd/nixos-config on GitHub
    "nftables.service after the network": (
        "nftables.service",
        _DEFAULT_DEPENDENCIES.replace("Wants=network-pre.target\nBefore=network-pre", "After=network"),
    ),
    # firewalld 1.3.3 of Debian 12
    "firewalld": (
        "firewalld.service",
        _DEFAULT_DEPENDENCIES.replace("[Service]", "After=dbus.service polkit.service\n[Service]"),
    ),
    # ufw 0.36.2 of Debian 12
    "ufw": (
        "ufw.service",
        _EARLY.replace("[Service]", "Wants=local-fs.target\nAfter=local-fs.target\n[Service]").replace(
            "sysinit.target", "multi-user.target"
        ),
    ),
    # nixpkgs pull request 284627 on GitHub
    "firewall.service of NixOS": (
        "firewall.service",
        _EARLY.replace("[Service]", "After=systemd-modules-load.service\n[Service]"),
    ),
    # systemd issue 42353 on GitHub: Arch's package iptables
    "iptables.service of Arch": (
        "iptables.service",
        _DEFAULT_DEPENDENCIES.replace("[Service]", "After=ip6tables.service\n[Service]"),
    ),
    # netfilter-persistent 1.0.20 of Debian 12
    "netfilter-persistent": (
        "netfilter-persistent.service",
        _EARLY.replace(
            "[Service]",
            "Wants=systemd-modules-load.service local-fs.target\n"
            "After=systemd-modules-load.service local-fs.target\n[Service]",
        ).replace("sysinit.target", "multi-user.target"),
    ),
}
"""Name of the unit's file and its text."""

CYCLES = {
    # crowdsec issue 2284 on GitHub: systemd drops network-pre.target.
    "a firewall between netfilter-persistent and the network": (
        *FIREWALLS["netfilter-persistent"],
        "After=network.target\nBefore=netfilter-persistent.service",
    ),
    # cloud-init issue 6502 on GitHub: cloud-init.service is before sysinit.target, and after the network.
    "a service with the network before sysinit.target": (
        *FIREWALLS["nftables.service of Fedora and Arch"],
        "DefaultDependencies=no\nAfter=systemd-networkd.service\nBefore=sysinit.target",
    ),
    # systemd issue 42353 on GitHub: systemd-networkd-resolve-hook.socket of systemd 260.2
    "a socket after network-pre.target": (
        *FIREWALLS["nftables.service of Fedora and Arch"],
        "DefaultDependencies=no\nAfter=network-pre.target\nBefore=sockets.target",
    ),
}
"""The same, and what orders another unit, so that the two make a cycle."""

OPT_ON_NFS = """[Unit]
DefaultDependencies=no
Wants=network-online.target
After=remote-fs-pre.target network.target network-online.target
Before=remote-fs.target
[Mount]
What=192.0.2.1:/opt
Where=/opt
Type=nfs
[Install]
WantedBy=remote-fs.target
"""
"""What systemd.mount(5), "Default Dependencies", gives the mount of a network file system."""
