"""The command of the services' doctor: what it found, for people or programs, and how it ends."""

from __future__ import annotations

import json
from typing import Annotated, Final

import typer

from mizzle import findings
from mizzle.errors import Misconfigured
from services.doctor.examine import examine
from services.doctor.sight import Sight
from services.runtime.settings import told

MISCONFIGURED: Final = 3
UNHEALTHY: Final = 10


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:  # noqa: FBT002  # typer makes a flag of it
    """Say what is wrong with ledger, keys, payloads, broker, Redis or a service, and the command that comes next."""
    found = []
    try:
        for finding in examine(told(Sight)):
            typer.echo(json.dumps(finding.told, ensure_ascii=False) if as_json else finding.text)
            found.append(finding)
    except Misconfigured as wrong:
        typer.echo(str(wrong), err=True)
        raise typer.Exit(MISCONFIGURED) from wrong
    typer.echo(findings.conclusion(found), err=True)
    raise typer.Exit(0 if findings.are_well(found) else UNHEALTHY)
