"""Options that several commands share."""

from typing import Annotated

import typer


def _json(printed: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option("--json", help=f"Print {printed}.")
    return option


Json = Annotated[bool, _json("one JSON object")]
JsonList = Annotated[bool, _json("a JSON list")]
JsonLines = Annotated[bool, _json("one JSON object per line")]
