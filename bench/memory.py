"""Whether the aggregator's memory depends on how many updates there are: it holds sums, and no update for long.

    python -m bench.memory --elements 1000000 --few 100 --many 10000 --json FILE

Both loads go through a pipeline of their own, as in `bench.pipeline`: real signed updates of many devices, of which a
few payloads are sent in turn. The many come in windows of a thousand, so that the payload store drains as they end. The
few come in two windows: a federation's first one starts from the plan's model, which the aggregator holds anyway, and
all others from a model that they have to hold besides.

Exit: 0 the two peaks are as good as equal; 1 they are not, or an update was lost; 3 the machine lacks something.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.command import FAILED, status
from bench.figures import memory, missing
from bench.load import Load, load_of
from bench.run import run
from bench.yardstick import BITS

app = typer.Typer(add_completion=False)


@app.command()
def measure(
    elements: Annotated[int, typer.Option(help="d, how many numbers an update has")] = 1_000_000,
    few: Annotated[int, typer.Option(help="how many updates the first run has, in two windows")] = 100,
    many: Annotated[int, typer.Option(help="how many the second has, a multiple of the window")] = 10_000,
    window: Annotated[int, typer.Option(help="how many devices the second run has, all in every window")] = 1_000,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures to this file as well")] = None,
) -> None:
    """Compare the aggregator's peak memory after few updates and after many."""
    runs = [run(load) for load in loads(elements, few, many, window)]
    found: dict[str, Any] = memory(*runs)
    text = json.dumps(found, indent=2)
    typer.echo(text)
    if json_file is not None:
        json_file.write_text(text + "\n")
    for why in filter(None, map(missing, runs)):
        typer.echo(why, err=True)
        raise typer.Exit(FAILED)
    if not found["equal"]:
        typer.echo("the aggregator's memory grows with the number of updates: look for what it keeps of each", err=True)
        raise typer.Exit(FAILED)


def loads(elements: int, few: int, many: int, window: int) -> tuple[Load, Load]:
    """What the two runs send.

    Raises:
        Misconfigured: the updates of one fill no whole number of windows.
    """
    return load_of(elements, BITS, few, min(window, few // 2)), load_of(elements, BITS, many, window)


if __name__ == "__main__":
    sys.exit(status(app))
