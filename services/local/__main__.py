"""`python -m services.local demo | up`: the whole system on one machine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn, get_args

import typer

from mizzle.errors import Away, Misconfigured
from services.local.demo import DEFAULT_SEED, demo
from services.local.store import Aof
from services.local.sweep import sweeps
from services.local.up import up
from services.local.verdict import FAILED

MISCONFIGURED = 3

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The whole system on one machine.",
)


@app.command("demo")
def demo_command(
    seed: Annotated[
        int, typer.Option(min=0, help="who loses the network, who is hostile, how devices shuffle")
    ] = DEFAULT_SEED,
    budget: Annotated[float | None, typer.Option(help="stop before any device's ε passes this")] = None,
    json: Annotated[Path | None, typer.Option(help="write the evidence to this file as well")] = None,
) -> None:
    """Train one model on sixteen wrists, through losses, a bad update and a kill; exit 7 if a budget stops it."""
    raise typer.Exit(demo(seed, budget, json))


@app.command("up")
def up_command(
    plan: Annotated[Path | None, typer.Option(help="a plan.toml with its model beside it")] = None,
    device: Annotated[list[str] | None, typer.Option(help="a device to make a token for; may be repeated")] = None,
    wrists: Annotated[int, typer.Option(min=0, max=16, help="how many of the demo's simulated wrists take part")] = 0,
    env: Annotated[Path | None, typer.Option(help="write what each device, and a reader, is given into here")] = None,
) -> None:
    """Start the same system empty, print how to enrol a device, and stay until Ctrl-C."""
    up(plan, tuple(device or ("my-device",)), wrists, env)


@app.command("sweep")
def sweep_command(
    aof: Annotated[Aof | None, typer.Option(help="only with a Redis that keeps its file like this")] = None,
    every: Annotated[int, typer.Option(min=1, help="of all cases, every so-manieth")] = 1,
    json: Annotated[Path | None, typer.Option(help="write the table to this file as well")] = None,
) -> None:
    """Let every process die at every point, and see that nothing is lost or doubled; exit 1 if anything is."""
    raise typer.Exit(sweeps((aof,) if aof else get_args(Aof), every, json))


def _leave(signum: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    try:
        app()  # it exits by itself, with 2 for what is no command and 130 for Ctrl-C
    except Misconfigured as wrong:
        sys.stderr.write(f"{wrong}\n")
        sys.exit(MISCONFIGURED)
    except (Away, RuntimeError) as failed:
        sys.stderr.write(f"{failed}\n")
        sys.exit(FAILED)
