"""The checks `disk` and `record`: room for the record, and whether it is readable and complete."""

import os
from collections.abc import Iterator
from contextlib import closing

from stunwall.doctor.findings import Finding, ok, problem, warning
from stunwall.doctor.machine import Machine, look
from stunwall.record.reader import RecordReader
from stunwall.record.schema import FILE, RecordError, RecordPermissionError
from stunwall.text import count

_LITTLE, _TOO_LITTLE = 100 << 20, 4 << 20  # bytes free for the record


def disk(machine: Machine) -> Iterator[Finding]:
    """Whether there is room for the record."""
    folder = machine.settings.state_dir
    if look(folder) is None:  # the check `rights` reports that
        return
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if found.f_flag & os.ST_RDONLY:
        why = "blocked packets are not recorded"
        yield problem(
            "disk", f"{folder} is on a read-only file system", why, next="check `dmesg` for disk errors"
        )
    elif free < _LITTLE:
        result = problem if free < _TOO_LITTLE else warning
        why = "once the disk is full, new entries wait in memory, and are lost if the daemon ends"
        yield result("disk", f"only {free >> 20} MiB are free for {folder}", why, next="free some space")
    else:
        yield ok("disk", f"{free >> 20:,} MiB are free for the record")


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the record is readable and complete."""
    folder = machine.settings.state_dir
    if look(folder) is None:
        return
    try:
        with closing(RecordReader(folder)) as record:
            flows, lost = record.last_id(), record.lost()
    except RecordPermissionError:
        raise
    except RecordError as error:
        yield warning("record", str(error))
    else:
        if lost:
            why = "the disk was full, or too slow"
            yield warning("record", f"blocked but not recorded: {count(lost, 'packet')}", why)
        size = (folder / FILE).stat().st_size >> 10
        yield ok("record", f"readable: {count(flows, 'entry', 'entries')} so far, {size:,} KiB")
    for broken in folder.glob(f"{FILE}.*.broken"):
        what, why = f"a damaged record was moved aside to {broken}", "it holds what was blocked before that"
        yield warning("record", what, why, next="check the disk for errors")
