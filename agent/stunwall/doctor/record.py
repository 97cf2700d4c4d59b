"""The checks `disk` and `record`: room for the record, and whether it can be read and is whole."""

import os
from collections.abc import Iterator
from contextlib import closing

from stunwall.doctor.findings import Finding, ok, problem, warning
from stunwall.doctor.machine import Machine, look
from stunwall.record.reader import RecordReader
from stunwall.record.schema import FILE, RecordError, RecordPermissionError

_LITTLE, _TOO_LITTLE = 100 << 20, 4 << 20  # bytes free for the record


def disk(machine: Machine) -> Iterator[Finding]:
    """Whether there is room for the record."""
    folder = machine.settings.state_dir
    if look(folder) is None:  # `rights` has said so
        return
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if found.f_flag & os.ST_RDONLY:
        why = "what is blocked is not recorded"
        yield problem("disk", f"{folder} is on a disk that is read-only", why, next="see `dmesg`")
    elif free < _LITTLE:
        result = problem if free < _TOO_LITTLE else warning
        why = "the record waits in memory once the disk is full, and is lost with the daemon"
        yield result("disk", f"{free >> 20} MiB are left for {folder}", why, next="make room")
    else:
        yield ok("disk", f"{free >> 20:,} MiB are left for the record")


def check(machine: Machine) -> Iterator[Finding]:
    """Whether the record can be read, and has everything."""
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
            why = "the disk could not keep up, or was full"
            yield warning("record", f"{lost} packets were blocked and not recorded", why)
        size = (folder / FILE).stat().st_size >> 10
        yield ok("record", f"can be read: {flows:,} entries so far, {size:,} KiB")
    for broken in folder.glob(f"{FILE}.*.broken"):
        what, why = f"a damaged record was moved aside to {broken}", "it has what was blocked before"
        yield warning("record", what, why, next="look for a failing disk")
