"""presets/places.py: units, templates and applications, and which exception does what another one does."""

from ipaddress import ip_network

import pytest

from stunwall.config import Allow
from stunwall.model import Transport
from stunwall.presets.places import Kind, Place, covers

RULE = Allow("w", port=3478, protocol=Transport.UDP, preset="a")


@pytest.mark.parametrize(
    ("place", "glob", "fits", "others"),
    [
        (Place(Kind.UNIT, "a.service"), "a.service", "a.service", ("b.service", "a.service.scope", "")),
        (
            Place(Kind.UNIT, "a@.service"),
            "a@*.service",
            "a@alice.service",
            ("a.service", "ab@alice.service", "a@alice.scope"),
        ),
        (Place(Kind.UNIT, "a@default.service"), "a@default.service", "a@default.service", ("a@x.service",)),
        (
            Place(Kind.APP, "org.an.App", 1000),
            "org.an.App",
            "org.an.App",
            ("org.an.Application", "orgXan.App"),
        ),
    ],
)
def test_a_template_stands_for_its_instances(
    place: Place, glob: str, fits: str, others: tuple[str, ...]
) -> None:
    assert place.glob == glob
    assert place.is_template == (glob != place.name)
    assert place.fits(fits)
    assert not any(map(place.fits, others))


def test_an_exception_is_applied_to_a_place() -> None:
    assert Place(Kind.UNIT, "a@.service").applied(RULE).plain() == RULE.plain() | {"unit": "a@*.service"}
    assert Place(Kind.USER_UNIT, "a.service", 7).applied(RULE).plain() == RULE.plain() | {
        "unit": "a.service",
        "user": 7,
    }
    assert Place(Kind.APP, "a", 7).applied(RULE).plain() == RULE.plain() | {"app": "a", "user": 7}


UNIT = Allow("w", unit="a.service")
NARROW = Allow("other", unit="a.service", port=3478, protocol=Transport.UDP, preset="a")
TO = Allow("w", to=ip_network("10.0.0.0/8"))
HOST = Allow("w", to=ip_network("10.0.0.1"), port=1)


@pytest.mark.parametrize(
    ("wide", "narrow", "does"),
    [
        (UNIT, NARROW, True),
        (NARROW, UNIT, False),
        (NARROW, NARROW, True),
        (Allow("w", unit="b.service"), NARROW, False),
        (Allow("w", port=3478), NARROW, True),
        (Allow("w", port=3479), NARROW, False),
        (Allow("w", unit="a.service", user=0), NARROW, False),
        (TO, HOST, True),
        (HOST, TO, False),
        (Allow("w", to=ip_network("::/0")), HOST, False),
        (Allow("w", source=ip_network("10.0.0.0/8")), HOST, False),
        (Allow("w", unit="a.service", until=5), NARROW, False),
        (Allow("w", unit="a.service", until=5), Allow("w", unit="a.service", until=6), False),
        (Allow("w", unit="a.service", until=6), Allow("w", unit="a.service", until=6), True),
        (UNIT, Allow("w", unit="a.service", until=6), True),
    ],
)
def test_what_lets_through_as_much_and_lasts_as_long_covers_an_exception(
    wide: Allow, narrow: Allow, does: bool
) -> None:
    assert covers(wide, narrow) is does
