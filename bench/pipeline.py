"""What an update costs from the broker to its receipt, beside the least that it can cost.

    python -m bench.pipeline --elements 100000 --bits 4 --updates 3000 --json FILE

Distinct signed updates, coded beforehand, go through broker, gateway, anomaly detector, accountant and aggregator to a
release, and every device gets its receipt; then as many go through `bare.py`. The server is broker, Redis and every
service; the publisher is left out, and so is what comes before the clock: founding, enrolling, connecting. Within it
is all the rest: opening windows, invitations, noise, manifests, releases, receipts.

Exit: 0 every update was counted and got its receipt; 1 one was not, or --most-ratio is exceeded; 3 the machine lacks
something.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.command import FAILED, status
from bench.figures import MOST_RATIO, figures, missing, too_dear
from bench.load import load_of
from bench.run import run
from bench.yardstick import BITS, measure
from mizzle.errors import Misconfigured

AOF = "everysec"

app = typer.Typer(add_completion=False)


@app.command()
def pipeline(  # noqa: PLR0913  # each is an option of the command
    *,
    elements: Annotated[int, typer.Option(help="d, how many numbers an update has")] = 100_000,
    bits: Annotated[int, typer.Option(help="bits of a level; the yardstick has 4")] = BITS,
    updates: Annotated[int, typer.Option(help="how many updates are sent, a multiple of the window")] = 3_000,
    window: Annotated[int, typer.Option(help="how many devices there are, all in every window")] = 3_000,
    most_ratio: Annotated[float | None, typer.Option(help="fail if it costs more than so many times the bare")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures to this file as well")] = None,
) -> None:
    """Measure the pipeline beside the bare yardstick."""
    if bits != BITS:
        raise Misconfigured(f"the yardstick has {BITS} bits, got --bits {bits}: what it is compared with must be alike")
    ran = run(load_of(elements, bits, updates, window))
    found = figures(ran, measure(ran.load, AOF))
    text = json.dumps(found, indent=2)
    typer.echo(text)
    if json_file is not None:
        json_file.write_text(text + "\n")
    typer.echo(f"server CPU is {found['ratio']} times the bare one, the goal is at most {MOST_RATIO}", err=True)
    if whys := [why for why in (missing(ran), too_dear(found, most_ratio)) if why is not None]:
        typer.echo("\n".join(whys), err=True)
        raise typer.Exit(FAILED)


if __name__ == "__main__":
    sys.exit(status(app))
