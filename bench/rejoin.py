"""How a fleet comes back when all of it has lost its network right after training.

    python -m bench.rejoin --devices 500 --offline-s 60 --json FILE

Exit: 0 every update has its receipt, is counted or refused once, and no second saw more than twice the mean of the
reconnections; 1 that is not so; 3 the machine lacks something.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.command import FAILED, status
from bench.outage import suffer
from bench.rejoined import complaints, figures

app = typer.Typer(add_completion=False)


@app.command()
def rejoin(
    devices: Annotated[int, typer.Option(min=10, help="how many devices there are")] = 500,
    offline_s: Annotated[float, typer.Option(min=0.0, help="for how many seconds they are away")] = 60.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures to this file as well")] = None,
) -> None:
    """Cut every device off right after training, and see how all of them come back."""
    ran = suffer(devices, offline_s)
    text = json.dumps(figures(ran), indent=2)
    typer.echo(text)
    if json_file is not None:
        json_file.write_text(text + "\n")
    if whys := complaints(ran):
        typer.echo("\n".join(whys), err=True)
        raise typer.Exit(FAILED)


if __name__ == "__main__":
    sys.exit(status(app))
