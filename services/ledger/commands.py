"""What an operator does by hand with a ledger: found it, let devices in, prove it, copy it, put a copy back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from mizzle.device.enrol import broker_password, parse
from mizzle.errors import Away, Forged, Misconfigured, MizzleError
from services.ledger import audit, restorations
from services.ledger.accounts import admit
from services.ledger.backups import back_up, restore
from services.ledger.checks import checked
from services.ledger.engine import connect, reading, writing
from services.ledger.first_start import start
from services.ledger.founding import Founded, found, open_founded, planned
from services.ledger.ledger import refuse_other_tables
from services.ledger.migrate import migrate
from services.ledger.past import DAY_MS, RETENTION_DAYS, tidy
from services.ledger.restorations import Restoration, Seen

MISCONFIGURED: Final = 3
UNREACHABLE: Final = 6
UNVERIFIED: Final = 9
RELOAD: Final = "docker compose kill -s HUP broker"

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="The ledger of a federation."
)

Federation = Annotated[str, typer.Option(envvar="MIZZLE_FEDERATION", help="the federation that it is about")]
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
    """Prove that the ledger agrees with itself, a line a check; print the end of its audit chain, SEQ:HASH.

    With --head, an end that was noted earlier, the chain must run through that one.
    """
    engine, noted = connect(ledger), _head(head)
    refuse_other_tables(engine)
    is_well = True
    with reading(engine) as tx:
        for found in checked(tx, noted):
            typer.echo(str(found), err=True)
            is_well &= found.is_well
        end = audit.head(tx)
    if not is_well:
        raise Forged(
            "this ledger is not what was written: compare it with a backup, and keep both (docs/operations.md)"
        )
    typer.echo(f"{end.seq}:{end.hash.hex()}")


@app.command()
def backup(ledger: Url, file: Annotated[Path, typer.Argument(help="the new file; its folder must be there")]) -> None:
    """Copy the ledger, which may be in use, to a new file, and print the end of its audit chain: note it elsewhere."""
    end = back_up(ledger, file)
    typer.echo(f"{end.seq}:{end.hash.hex()}")


@app.command("restore")
def restore_command(ledger: Url, file: Annotated[Path, typer.Argument(help="a backup")]) -> None:
    """Put a backup in the ledger's place, the services being stopped; nothing is released until `resume`."""
    restored = restore(ledger, file)
    typer.echo(f"{restored.head.seq}:{restored.head.hash.hex()}")
    if restored.replaced is not None:
        typer.echo(f"what was there lies in {restored.replaced}", err=True)
    typer.echo("nothing is released and no window opens until: services.ledger resume --because WHY", err=True)


@app.command("resume")
def resume_command(
    ledger: Url,
    federation: Federation,
    because: Annotated[str, typer.Option(help="why it may go on, for the audit log")],
    newest_release: Annotated[int | None, typer.Option(help="the newest release that anybody has seen")] = None,
    newest_window: Annotated[int | None, typer.Option(help="the newest window that any device was invited to")] = None,
) -> None:
    """Let a restored ledger release again, after all that the world has seen of it; what was lost is charged to all."""
    engine = connect(ledger)
    refuse_other_tables(engine)
    with writing(engine) as tx:
        seen = Seen(*_stated(restorations.newest(tx, federation), newest_release, newest_window))
        loss = restorations.resume(tx, federation, seen, because, round(time.time() * 1000))
    typer.echo(f"{federation} goes on; each of its devices is charged {loss / 2**32:g} of mu^2 for what was lost")


@app.command("tidy")
def tidy_command(
    ledger: Url,
    federation: Federation,
    days: Annotated[
        int, typer.Option(envvar="MIZZLE_RETENTION_DAYS", min=14, help="what is older goes")
    ] = RETENTION_DAYS,
) -> None:
    """Clean up what is known of updates that ended long ago, now; the accountant does it with its batches, too."""
    engine, gone = connect(ledger), 0
    refuse_other_tables(engine)
    before = round(time.time() * 1000) - days * DAY_MS
    while True:
        with writing(engine) as tx:
            went = tidy(tx, federation, before)
        gone += went
        if not went:
            break
    typer.echo(f"{gone} rows of updates went")


def _stated(known: Restoration | None, release: int | None, window: int | None) -> tuple[int, int]:
    """What a person says has been seen; both numbers must be said."""
    if release is None or window is None:
        at_least = f"at least {known.version} and {known.window}" if known else "none is known here"
        text = f"say how far the world has come ({at_least}): --newest-release N --newest-window N"
        raise Misconfigured(f"{text}; the broker retains the newest release, and devices log their windows")
    return release, window


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
