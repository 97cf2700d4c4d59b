"""What can be wrong with a configuration file."""

from pathlib import Path

from stunwall.model import StunwallError


class ConfigError(StunwallError):
    """A configuration file that cannot be used: where, what was found, what was expected."""

    exit_code = 3

    def __init__(self, message: str, file: Path, line: int | None = None) -> None:
        where = str(file) if line is None else f"{file}, line {line}"
        super().__init__(f"{where}: {message}")


class ConfigPermissionError(ConfigError):
    """A configuration file that this user may not read."""

    exit_code = 4
