"""`stunwall check`: shows on the wire whether STUN can bypass the VPN."""

import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer

from stunwall.check import messages, run
from stunwall.check.messages import Variant
from stunwall.check.verdict import Result, Verdict, overall
from stunwall.check.ways import Kind, Way
from stunwall.cli import check_browser, check_server, check_ways, proof, terminal
from stunwall.cli.daemon import request
from stunwall.cli.options import DURATIONS, Json, Redact, duration_seconds
from stunwall.cli.proof import Handover
from stunwall.cli.redacted import redaction
from stunwall.config import Config
from stunwall.configfile import reader
from stunwall.model import StunwallError, Transport
from stunwall.text import count, printable
from stunwall.vpn.inside import Named

EXIT_CODES = {Verdict.SEALED: 0, Verdict.LEAK: 1, Verdict.INCONCLUSIVE: 5}
_LOOK = 1.0  # seconds until a VPN is looked for again
_REST = 10.0  # seconds after an inconclusive check: routers limit how often they report
_WORD = max(map(len, Verdict)) + 2  # columns


Everything = Annotated[
    bool, typer.Option("--all", help="Try every kind of message, not only STUN's Binding Request.")
]
Forecast = Annotated[
    bool, typer.Option("--forecast", help="Send nothing; show which way packets would take.")
]
Browser = Annotated[
    bool, typer.Option("--browser", help="Show what a web page can learn, in your own browser.")
]
PrintUrl = Annotated[
    bool, typer.Option("--print-url", help="With --browser: do not open the browser, print the address.")
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="stun:HOST[:PORT]",
        help="Ask this STUN server which address it sees. It is the only option that sends to somebody else.",
    ),
]


class NoVpnError(StunwallError):
    """No VPN has come up in time."""

    exit_code = EXIT_CODES[Verdict.INCONCLUSIVE]


class Switch(StrEnum):
    """The values of --every-vpn-up."""

    ON = "on"
    OFF = "off"


Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="TIME",
        help=f"Wait for a VPN, and repeat what is inconclusive, for at most this long, such as {DURATIONS}.",
    ),
]
EveryVpnUp = Annotated[
    Switch | None,
    typer.Option(
        "--every-vpn-up",
        metavar="on|off",
        help="Have stunwall check by itself whenever the VPN comes up, or no longer.",
    ),
]


def check(
    context: typer.Context,
    as_json: Json = False,
    redact: Redact = False,
    everything: Everything = False,
    forecast: Forecast = False,
    wait: Wait = None,
    every_vpn_up: EveryVpnUp = None,
    in_browser: Browser = False,
    print_url: PrintUrl = False,
    server: Server = None,
) -> None:
    """Prove on the wire whether STUN can bypass the VPN.

    A socket can be bound to nothing, to an address or to an interface, and as
    root it can have a mark. For each of these ways, over UDP and TCP, this sends
    a STUN request and a packet that is not STUN. Both end at the next router,
    which reports that: if it reports the other packet alone, STUN was blocked.
    No server is asked, and no permission is needed. `stunwall status` shows the
    last result: root's to every user, another user's to that user.

    \b
    Examples:
      stunwall check
      stunwall check --forecast
      stunwall check --browser
      stunwall check --server stun:stun.example.org
      sudo stunwall check --all
      sudo stunwall check --every-vpn-up on

    \b
    Exit codes:
      0  sealed: no STUN left outside the VPN
      1  leak: STUN left, or would have left, outside the VPN
      5  inconclusive: something could not be shown
    """
    _run(context)


def _run(context: typer.Context) -> NoReturn:
    """Do what the options of `check` say."""
    config, given = reader.load(context.obj), context.params
    as_json, redact = given["as_json"], given["redact"]
    chosen = ("in_browser", "server", "forecast", "everything", "every_vpn_up")
    if sum(bool(given[name]) for name in chosen) > 1:
        raise typer.BadParameter(
            "--browser, --server, --forecast, --all and --every-vpn-up exclude each other"
        )
    if given["every_vpn_up"] is not None:
        _switch(context, Switch(given["every_vpn_up"]), as_json)  # here it is the text
    if given["in_browser"]:
        said = check_browser.checked(config, given["print_url"])
        _print(said, check_browser.show, as_json, redact)
    if given["server"] is not None:
        _print(check_server.checked(config, given["server"]), check_server.show, as_json, redact)
    seconds = 0 if given["wait"] is None else duration_seconds(given["wait"], "--wait")
    variants = _variants(given["everything"])
    said = _forecast(config) if given["forecast"] else _examined(config, variants, seconds)
    _print(said, _show, as_json, redact)


def _print(
    said: dict[str, Any], show: Callable[[dict[str, Any]], None], as_json: bool, redact: bool
) -> NoReturn:
    """Print what a check has shown, and end with the exit code of its verdict."""
    if hidden := redaction(redact):
        said = hidden.value(said)
    if as_json:
        terminal.print_json(said)
    else:
        show(said)
    raise typer.Exit(EXIT_CODES[Verdict(said["verdict"])] if said["verdict"] else 0)


def _variants(everything: bool) -> Sequence[Variant]:
    return messages.VARIANTS if everything else messages.USUAL


def _switch(context: typer.Context, switch: Switch, as_json: bool) -> NoReturn:
    reply = request(context, "check-every-vpn-up", on=switch is Switch.ON)
    if as_json:
        terminal.print_json({"check_every_vpn_up": reply["check_every_vpn_up"]})
    elif reply["check_every_vpn_up"]:
        typer.echo("stunwall now checks by itself whenever the VPN comes up.")
    else:
        typer.echo("stunwall no longer checks by itself.")
    raise typer.Exit


def _forecast(config: Config) -> dict[str, Any]:
    """Return which ways there are."""
    found, _ = run.forecast(Named(config.interfaces, config.inside))
    return _plain(found, [])


def _examined(config: Config, variants: Sequence[Variant], seconds: int) -> dict[str, Any]:
    """Return what is shown, and hand it to the daemon. With `seconds`, wait so long for a VPN, and to be certain.

    Raises NoVpnError.
    """
    end = time.monotonic() + seconds
    while True:
        handover = Handover.begin(config.run_dir)
        found, own = run.forecast(Named(config.interfaces, config.inside))
        rest = _LOOK
        if not seconds or any(way.into_vpn for way in found):
            if sys.stderr.isatty():
                typer.echo(f"Trying {count(len(found), 'way')} ...", err=True)
            said = _plain(found, run.examine(found, own, variants))
            said |= handover.end(said)
            rest = _REST
            if said["verdict"] != Verdict.INCONCLUSIVE or time.monotonic() + rest >= end:
                return said
        elif time.monotonic() + rest >= end:
            raise NoVpnError(f"no VPN came up within {count(seconds, 'second')}: nothing was sent")
        time.sleep(rest)


def _plain(found: Sequence[Way], results: Sequence[Result]) -> dict[str, Any]:
    """Return the fields of the JSON."""
    return {
        "verdict": overall(results).value if results else "",
        "ways": [
            check_ways.plain(way) | {"shown": [_shown(each) for each in results if each.way is way]}
            for way in found
        ],
    }


def _shown(result: Result) -> dict[str, Any]:
    return {"protocol": result.transport.value, "verdict": result.verdict.value, "why": result.why}


def _show(said: dict[str, Any]) -> None:
    ways = said["ways"]
    names = [printable(check_ways.name(way)) for way in ways]
    exits = [printable(", ".join(way["interfaces"])) or "-" for way in ways]
    wide, by = (max(map(len, column)) + 2 for column in (["WAY", *names], ["LEAVES BY", *exits]))
    if not said["verdict"]:
        typer.echo(f"{'WAY':<{wide}}{'LEAVES BY':<{by}}WHY")
        for name, out, way in zip(names, exits, ways, strict=True):
            rule = f" (rule {way['rule']})" if way["rule"] else ""
            typer.echo(f"{name:<{wide}}{out:<{by}}{printable(way['why'] + rule)}")
        return
    _headline(said)
    typer.echo(f"{'WAY':<{wide}}{'LEAVES BY':<{by}}{'UDP':<{_WORD}}TCP")
    for name, out, way in zip(names, exits, ways, strict=True):
        shown = {each["protocol"]: Verdict(each["verdict"]) for each in way["shown"]}
        words = "".join(_word(shown.get(each.value, Verdict.NOT_SENT)) for each in Transport)
        typer.echo(f"{name:<{wide}}{out:<{by}}{words}".rstrip())
    check_ways.details(names, ways)
    if any(each["verdict"] == Verdict.NOT_SENT for way in ways for each in way["shown"]):
        marks = sum(way["kind"] == Kind.MARK and way["shown"][0]["why"] == run.ONLY_ROOT for way in ways)
        rest = f"; {count(marks, 'mark')} with sudo only" if marks else ""
        typer.echo(f"\n-: not tried, as it stays here or enters the VPN as another way does{rest}")
    typer.echo(f"\n{terminal.wrapped(proof.kept(said), 0)}")
    if advice := check_ways.NEXT.get(said["verdict"]):
        typer.echo(f"\nNext: {advice}")


def _word(verdict: Verdict) -> str:
    shown = "-" if verdict is Verdict.NOT_SENT else verdict.value
    return check_ways.styled(verdict, shown) + " " * (_WORD - len(shown))


def _headline(said: dict[str, Any]) -> None:
    verdict = Verdict(said["verdict"])
    sealed, tests = proof.counted(said)
    through = any(each["verdict"] == Verdict.THROUGH for way in said["ways"] for each in way["shown"])
    text = {
        Verdict.SEALED: "no STUN left outside the VPN",
        Verdict.LEAK: "STUN left this machine outside the VPN",
        Verdict.INCONCLUSIVE: "not every way could be shown to be sealed",
    }[verdict]
    counted = f" ({sealed} of {count(tests, 'test')} outside it sealed)" if tests else ""
    calls = "; STUN gets through the VPN" if through else ""
    word = check_ways.styled(verdict, verdict.value.upper())
    typer.echo(f"{word}: {text}{counted}{calls}\n")
