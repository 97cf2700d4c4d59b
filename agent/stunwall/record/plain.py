"""Entries of the record as JSON, and back."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from stunwall.model import Event
from stunwall.record.schema import FITS, RecordError


def plain(number: int, event: Event) -> dict[str, Any]:
    """Return an entry's fields, with its packet in hexadecimal."""
    return {"id": number} | asdict(event) | {"packet": event.packet.hex()}


def entry(fields: Mapping[str, Any]) -> tuple[int, Event]:
    """Return the id and the event of which these are the fields. Raises RecordError."""
    try:
        values = {name: fields[name] for name in FITS} | {"packet": bytes.fromhex(fields["packet"])}
        if isinstance(fields["id"], int) and all(fits(values[name]) for name, fits in FITS.items()):
            return fields["id"], Event(**values)
    except (KeyError, TypeError, ValueError):
        pass
    raise RecordError(
        "stunwalld sent an entry that this version of stunwall does not know: restart stunwalld"
    )
