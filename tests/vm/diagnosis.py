"""What a failed test reports about its machine: units, jobs, journal, rules, routes and console."""

from vm.machine import Machine

CONSOLE = "the machine's console"
CONSOLE_LINES = 60
SECONDS = 10  # for each command; systemctl takes two in an emulated machine that is busy
COMMANDS = (
    "systemctl status --no-pager --full stunwall.service stunwall-wall.service",
    "systemctl show -p Id,ActiveState,SubState,Result,NRestarts,Job stunwall.service stunwall-wall.service",
    "systemctl list-jobs --no-pager",
    "systemctl --failed --no-pager",
    "journalctl -b -o short-monotonic --no-pager -n 80",
    "nft list chains",
    "ip -brief address",
    "ip -4 rule",
    "ip -6 rule",
    "ip -4 route show table all",
    "ip -6 route show table all",
)

Section = tuple[str, str]
"""A title and a text that is not empty, as in pytest's reports."""


def describe(machine: Machine, seconds: float = SECONDS) -> list[Section]:
    """One section per command and the console's last lines.

    A machine that is off or does not answer gets one line instead of the commands. Never raises, so that the failure
    which led here is the one that is reported.

    Args:
        machine: in any state, also closed
        seconds: how long each command may take, multiplied by lab.deadline.PATIENCE
    """
    return [*_answers(machine, seconds), _section(CONSOLE, _console(machine))]


def _answers(machine: Machine, seconds: float) -> list[Section]:
    if not machine.running:
        return [("the machine", "is powered off")]
    try:
        machine.attempt("true", seconds=seconds)
    except Exception as error:  # noqa: BLE001 - see describe()
        return [("the machine", f"does not answer: {error!r}")]
    return [_section(f"the machine's {command}", _answer(machine, command, seconds)) for command in COMMANDS]


def _answer(machine: Machine, command: str, seconds: float) -> str:
    try:
        done = machine.attempt(*command.split(), seconds=seconds)
    except Exception as error:  # noqa: BLE001 - see describe()
        return f"no answer: {error!r}"
    return done.output + done.errors


def _console(machine: Machine) -> str:
    try:
        return "\n".join(machine.console.splitlines()[-CONSOLE_LINES:])
    except Exception as error:  # noqa: BLE001 - see describe()
        return f"cannot be read: {error!r}"


def _section(title: str, text: str) -> Section:
    return title, text.rstrip() or "(empty)"
