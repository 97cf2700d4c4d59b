"""Options that several commands have."""

from typing import Annotated

import typer


def json_option(text: str) -> typer.models.OptionInfo:
    """Return the option --json; `text` says what is printed."""
    option: typer.models.OptionInfo = typer.Option("--json", help=text)
    return option


Json = Annotated[bool, json_option("One JSON object.")]
