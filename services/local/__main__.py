"""`python -m services.local demo | up | chaos | sweep`: the whole system on one machine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn, get_args

import typer

from mizzle.errors import Away, Misconfigured
from services.local.chaos import Run, chaos, durability
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


@app.command("chaos")
def chaos_command(  # noqa: PLR0913, PLR0917  # each is an option
    seed: Annotated[int, typer.Option(min=0, help="what befalls whom, and when")] = 0,
    minutes: Annotated[float, typer.Option(min=0.1, help="how long it is hurt")] = 2.0,
    devices: Annotated[int, typer.Option(min=4, max=200, help="how many devices take part")] = 24,
    aof: Annotated[Aof | None, typer.Option(help="how durable Redis is; else the seed chooses")] = None,
    json: Annotated[Path | None, typer.Option(help="write the verdict to this file as well")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="copy ledger, outboxes, trace and logs into this new folder")
    ] = None,
) -> None:
    """Hurt a federation at random, heal it, judge it; exit 9 if anything is lost or untrue, 10 if it is unwell."""
    raise typer.Exit(chaos(Run(seed, minutes, devices, aof or durability(seed)), json, keep))


@app.command("sweep")
def sweep_command(
    aof: Annotated[Aof | None, typer.Option(help="only with a Redis that keeps its file like this")] = None,
    every: Annotated[int, typer.Option(min=1, help="of all cases, every so-manieth")] = 1,
    json: Annotated[Path | None, typer.Option(help="write the table to this file as well")] = None,
    keep: Annotated[Path | None, typer.Option(help="copy what is left of an unsound federation into here")] = None,
) -> None:
    """Let every process die at every point; exit 9 if anything is lost or untrue, 10 if it is unwell."""
    raise typer.Exit(sweeps((aof,) if aof else get_args(Aof), every, json, keep))


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
