"""What the exposure ledger says of the time up to now, in words and numbers."""

import time
from dataclasses import dataclass, replace
from typing import Any

from stunwall.record import ledger
from stunwall.record.ledger import BEAT, NEEDS_DAEMON, Kind, Moment, Span
from stunwall.record.reader import RecordReader
from stunwall.redact.redaction import Redaction
from stunwall.text import count


@dataclass(frozen=True, slots=True)
class Exposure:
    """The rows of a time, oldest first, and how many exposures were proven in it."""

    spans: list[Span]
    proven: int

    @property
    def leaky(self) -> list[Span]:
        """The rows in which STUN could leak, or nobody knows."""
        return [span for span in self.spans if span.kind is not Kind.SEALED]

    @property
    def sentence(self) -> str:
        """The part of the time that was sealed, what was not, and what is unknown."""
        total = sum(span.seconds for span in self.spans)
        if not total:
            return "Nothing is known of this time."
        said = []
        for kind in Kind:
            of_kind = [span for span in self.leaky if span.kind is kind]
            if of_kind:
                said.append(
                    f"{kind} {count(len(of_kind), 'time')}, {length(sum(s.seconds for s in of_kind))}"
                )
        sealed = sum(span.seconds for span in self.spans if span.kind is Kind.SEALED)
        share = percent(sealed / total if said else 1)
        if self.proven:
            said.append(count(self.proven, "proven exposure"))
        elif all(span.kind is not Kind.LEAK for span in self.leaky):
            said.append("nothing proven")
        return f"Sealed for {share} of {length(total)}; {'; '.join(said)}."

    def redacted(self, hidden: Redaction) -> "Exposure":
        """Return the same without what it tells of the user."""
        return replace(self, spans=[replace(span, why=hidden.text(span.why)) for span in self.spans])

    @property
    def plain(self) -> dict[str, Any]:
        """The fields of the JSON."""
        seconds = {kind: sum(each.seconds for each in self.spans if each.kind is kind) for kind in Kind}
        return {"seconds": seconds, "exposed": self.proven}


def exposure_since(record: RecordReader, start: float, running: bool) -> Exposure:
    """Return what the ledger says of the time from `start`, in Unix seconds, to now.

    `running`: the daemon has answered just now, so that what it wrote last is still so. Raises RecordError.
    """
    seconds = time.time() - start
    spans = to_present(record.spans(seconds), ledger.now(), running)
    return Exposure(within(spans, seconds), record.exposed(start))


def to_present(spans: list[Span], at: Moment, running: bool) -> list[Span]:
    """Return the rows, with what is known of the time since the last one was written."""
    if not spans:
        return []
    last = spans[-1]
    if last.boot != at.boot:
        return [*spans, *ledger.until_start(last, at, None)]
    silent = max(0.0, at.awake - last.awake)
    lasting = replace(last, seconds=last.seconds + silent)
    if last.kind not in NEEDS_DAEMON:  # without a daemon, too: nothing ends it
        return [*spans[:-1], lasting]
    if silent > 2 * BEAT:  # also if the daemon runs: what it could not write is not known
        unseen = Span(Kind.UNKNOWN, "no heartbeat of stunwalld", at.boot, at.wall - silent, silent, at.awake)
        return [*spans, unseen]
    return [*spans[:-1], lasting] if running else spans


def within(spans: list[Span], seconds: float) -> list[Span]:
    """Return the rows of the last seconds, by their lengths; the first may be cut. Rows follow without a hole."""
    kept: list[Span] = []
    for span in reversed(spans):
        if seconds <= 0:
            break
        cut = max(0.0, span.seconds - seconds)
        kept.append(replace(span, start=span.start + cut, seconds=span.seconds - cut) if cut else span)
        seconds -= span.seconds
    return kept[::-1]


def percent(share: float) -> str:
    """Return a share in percent: "100 %" only of all, "0 %" only of nothing, and decimals only near to all."""
    if 0 < share < 0.01:
        return "less than 1 %"
    if 0.99 < share < 1:
        return f"{int(10000 * share) / 100:g} %"
    return f"{int(100 * share)} %"


def length(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    if seconds < 60:
        return f"{int(seconds)} s" if seconds >= 1 else f"{seconds:.1g} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {int(seconds % 60)} s"
