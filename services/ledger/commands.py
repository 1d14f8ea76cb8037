"""What an operator does by hand with a ledger: create, setup, token, keys, migrate, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from mizzle.device.enrol import broker_password, parse
from mizzle.errors import Away, Forged, Misconfigured, MizzleError
from services.ledger import audit
from services.ledger.accounts import admit
from services.ledger.engine import connect, reading
from services.ledger.first_start import start
from services.ledger.founding import Founded, found, open_founded, planned
from services.ledger.ledger import refuse_other_tables
from services.ledger.migrate import migrate

MISCONFIGURED: Final = 3
UNREACHABLE: Final = 6
UNVERIFIED: Final = 9
RELOAD: Final = "docker compose kill -s HUP broker"

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="The ledger of a federation."
)

Url = Annotated[str, typer.Option("--ledger", envvar="MIZZLE_LEDGER", help="sqlite:////path/to/ledger.db")]


@app.command()
def create(
    ledger: Url,
    plan: Annotated[Path, typer.Option(help="a plan.toml with its model beside it")],
    keys: Annotated[Path, typer.Option(envvar="MIZZLE_KEYS", help="the folder that the private keys are written to")],
) -> None:
    """Found a federation: its tables, its private keys, its plan and first model."""
    wanted, model = planned(plan)
    _show_keys(found(ledger, wanted, model, keys))


@app.command()
def setup(
    ledger: Url,
    plan: Annotated[Path, typer.Option(envvar="MIZZLE_PLAN", help="a plan.toml with its model beside it")],
    keys: Annotated[Path, typer.Option(envvar="MIZZLE_KEYS", help="the folder of the private keys")],
    passwords: Annotated[Path, typer.Option(envvar="MIZZLE_PASSWORDS", help="the folder of everybody's passwords")],
    endless: Annotated[bool, typer.Option(help="go on after the windows that the plan names")] = False,  # noqa: FBT002  # typer makes a flag of it
) -> None:
    """Make what a deployment's first start needs; do nothing if all of it is there."""
    _show_keys(start(ledger, plan, keys, passwords, endless=endless))


@app.command()
def token(
    ledger: Url,
    device: Annotated[str, typer.Argument(help="the device's name")],
    federation: Annotated[str, typer.Option(envvar="MIZZLE_FEDERATION", help="the federation it is to join")],
    broker: Annotated[
        Path | None,
        typer.Option(envvar="MIZZLE_BROKER_PASSWORDS", help="the broker's password file, if it has one"),
    ] = None,
) -> None:
    """Print the line with which a device may enrol, once, within seven days, and let it in at the broker."""
    line = open_founded(ledger, federation).token(device)
    if broker is not None:
        admit(broker, {device: broker_password(parse(line).secret)})
    typer.echo(line)
    if broker is not None:
        typer.echo(f"{device} is let in once the broker reads its passwords again; now run: {RELOAD}", err=True)


@app.command("keys")
def show_keys(
    ledger: Url,
    federation: Annotated[str, typer.Option(envvar="MIZZLE_FEDERATION", help="the federation they belong to")],
) -> None:
    """Print the federation's public keys; integrators verify releases with `release`."""
    _show_keys(open_founded(ledger, federation))


@app.command("migrate")
def migrate_command(ledger: Url) -> None:
    """Bring the tables to this program's version; stop the services before, and make a copy of the file."""
    migrate(connect(ledger))


@app.command()
def verify(
    ledger: Url,
    head: Annotated[str, typer.Option(help="an end of the chain that was noted earlier: SEQ:HASH")] = "",
) -> None:
    """Recompute the audit chain and print its end, SEQ:HASH; with --head, it must run through that one."""
    engine = connect(ledger)
    refuse_other_tables(engine)
    with reading(engine) as tx:
        end = audit.verify(tx, _head(head))
    typer.echo(f"{end.seq}:{end.hash.hex()}")


def _head(noted: str) -> audit.Head | None:
    if not noted:
        return None
    seq, _, digest = noted.partition(":")
    try:
        return audit.Head(int(seq), bytes.fromhex(digest))
    except ValueError as error:
        raise Misconfigured(f"--head is SEQ:HASH as verify prints it, got {noted!r}") from error


def _show_keys(founded: Founded) -> None:
    for role, key in founded.public_keys.items():
        typer.echo(f"{role} {key.hex()}")


def main() -> int:
    """Run one command, and give its exit status."""
    try:
        app()  # it exits by itself, with 2 for what is no command
    except Misconfigured as wrong:
        return _failed(wrong, MISCONFIGURED)
    except Away as away:
        return _failed(away, UNREACHABLE)
    except Forged as broken:
        return _failed(broken, UNVERIFIED)
    return 0


def _failed(why: MizzleError, status: int) -> int:
    typer.echo(str(why), err=True)
    return status
