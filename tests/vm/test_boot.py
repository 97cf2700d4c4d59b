"""Sealed from power-on: a unit that sends STUN before anything else is up gets nothing out."""

from lab.addresses import CLIENT, PHYSICAL
from vm.boots import UNITS, Boot, Boots
from vm.outside import MachineLab


def report(kernel: str, name: str, boot: Boot) -> None:
    """For those who read the output (-s): when was what up, and what left."""
    print(
        f"\nLinux {kernel}, boot {name}: {len(boot.leaks)} STUN packets outside of {len(boot.packets)} packets"
    )
    for unit in UNITS:
        print(f"  {boot.timeline[unit]:7.2f} s  {unit}")
    for outcome in boot.outcomes:
        print(f"  {outcome.at:7.2f} s  {outcome.what}: {outcome.outcome} (packet {outcome.tried})")


# `lab` comes first, so that the report of a failed boot includes the console.
def test_early_unit_leaks_without_stunwall_by_both_ip_versions(
    lab: MachineLab, boots: Boots, kernel: str
) -> None:
    report(kernel, "without stunwall", boots.without)
    assert {packet.source for packet in boots.without.leaks} >= set(CLIENT.values())


def test_nothing_leaves_before_during_or_after_the_service_comes_up(
    lab: MachineLab, boots: Boots, kernel: str
) -> None:
    boot = boots.protected
    report(kernel, "with stunwall", boot)
    assert not boot.leaks
    assert not boot.failed
    # Refused before the daemon ran; then accepted by the daemon's queue. The recorder on the wire saw none leave.
    for way in (f"{family} {device}" for family in ("IPv4", "IPv6") for device in ("unbound", PHYSICAL)):
        assert [outcome.outcome for outcome in boot.outcomes if outcome.what == way][-2:] == ["EPERM", "sent"]
    # It was sending throughout: from before the wall, through the network's start, until the daemon was ready.
    assert boot.timeline["early.service"] < boot.timeline["stunwall-wall.service"]
    assert boot.timeline["stunwall-wall.service"] < boot.timeline["systemd-networkd.service"]
    assert boot.timeline["stunwall.service"] > 0
