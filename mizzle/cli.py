"""`mizzle NOUN VERB`: what a device team and an integrator do by hand. Results go to stdout, talk to stderr.

Exit status: 0 ok, 1 failed, 2 usage, 3 configuration, 4 not found, 6 unreachable, 9 verification. Everything heavy is
imported by the command that needs it, so that the others start at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mizzle.errors import Away, Misconfigured, MizzleError, Unreadable

if TYPE_CHECKING:
    from mizzle.device.outbox import Outbox
    from mizzle.releases import Release

MISCONFIGURED: Final = 3
NOT_FOUND: Final = 4
UNREACHABLE: Final = 6
UNVERIFIED: Final = 9

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Federated learning for fleets of devices that come and go.",
)
device = typer.Typer(no_args_is_help=True, help="This device: whether it belongs, and what waits in its outbox.")
release = typer.Typer(no_args_is_help=True, help="Released models, verified.")
app.add_typer(device, name="device")
app.add_typer(release, name="release")

BrokerOption = Annotated[str | None, typer.Option(help="mqtt://HOST:PORT; else MIZZLE_BROKER.")]
HomeOption = Annotated[Path | None, typer.Option(help="The device's folder; else MIZZLE_HOME.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command()
def version() -> None:
    """Say which Mizzle this is."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  # as the head of this file says

    try:
        typer.echo(version("mizzle"))
    except PackageNotFoundError:
        typer.echo("a checkout")


@device.command()
def enrol(
    token: Annotated[str, typer.Argument(help="The one-time token that the operator gave you.")],
    broker: BrokerOption = None,
    home: HomeOption = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the answer.")] = 60.0,
    as_json: JsonOption = False,  # noqa: FBT002  # typer makes a flag of it
) -> None:
    """Enrol this device with its TOKEN, and keep the identity that comes back."""
    from mizzle.device.train import Device  # noqa: PLC0415  # as above

    with _answered():
        asked = Device(_setting("MIZZLE_BROKER", broker), Path(_setting("MIZZLE_HOME", home)), token=token)
        typer.echo(f"waiting up to {timeout_s:g} s for the federation's answer", err=True)
        identity = asked.enrol(timeout_s)
    told = {"device": identity.device, "federation": identity.federation, "epoch": identity.epoch}
    _tell(told, f"{identity.device} belongs to {identity.federation}", as_json=as_json)


@device.command()
def status(
    home: HomeOption = None,
    as_json: JsonOption = False,  # noqa: FBT002  # as above
) -> None:
    """Show what waits in this device's outbox, and how its updates ended."""
    from mizzle.device.home import OUTBOX  # noqa: PLC0415  # as above
    from mizzle.device.outbox import Outbox  # noqa: PLC0415  # as above

    with _answered():
        path = Path(_setting("MIZZLE_HOME", home)) / OUTBOX
        if not path.exists():
            typer.echo(f"there is no outbox at {path}: nothing was ever enrolled in this home", err=True)
            raise typer.Exit(NOT_FOUND)
        with Outbox(path) as outbox:
            told = _summary(outbox)
    text = "{device} in {federation}: {waiting} waiting ({waiting_bytes} bytes), {counted} counted, {refused} refused, "
    _tell(told, (text + "{abandoned} abandoned, {sent} sent").format_map(told), as_json=as_json)


@release.command()
def follow(  # noqa: PLR0913, PLR0917  # each is an option of the command
    federation: Annotated[str, typer.Argument(help="Whose releases.")],
    key: Annotated[str, typer.Argument(help="The key that signs them: 64 hexadecimal digits.")],
    broker: BrokerOption = None,
    since: Annotated[int | None, typer.Option(help="The last version you have.")] = None,
    into: Annotated[
        Path | None, typer.Option(help="Write each model into this folder, as VERSION.safetensors.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many releases.")] = None,
    as_json: JsonOption = False,  # noqa: FBT002  # as above
) -> None:
    """Print every release once it is verified, oldest missed first."""
    import asyncio  # noqa: PLC0415  # as above

    async def go() -> None:
        import mizzle  # noqa: PLC0415  # as above

        left = count
        async for found in mizzle.follow(_setting("MIZZLE_BROKER", broker), federation, key, since=since, folder=into):
            _show(found, into, as_json=as_json)
            left = None if left is None else left - 1
            if left == 0:
                return

    with _answered():
        if into is not None:
            into.mkdir(parents=True, exist_ok=True)
        asyncio.run(go())


def _show(found: Release, into: Path | None, *, as_json: bool) -> None:
    told = {
        "version": found.version,
        "window": found.manifest.window,
        "members": found.manifest.members,
        "model": found.manifest.model.digest,
        "epsilon": found.manifest.privacy.epsilon,
        "privacy": found.manifest.privacy.sentence,
        "gap": found.gap,
    }
    if into is not None:
        path = into / f"{found.version}.safetensors"
        path.write_bytes(found.model)
        told["path"] = str(path)
    text = "release {version}: {members} updates, model {model:.16}, ε {epsilon:.3g} ({privacy})"
    _tell(told, text.format_map(told), as_json=as_json)


def _summary(outbox: Outbox) -> dict[str, Any]:
    from mizzle.codec import decode  # noqa: PLC0415  # as above
    from mizzle.envelope import unseal  # noqa: PLC0415  # as above
    from mizzle.messages import Identity, Receipt  # noqa: PLC0415  # as above

    identity = decode(unseal(outbox.identity).header, Identity) if outbox.identity else None
    ends = [type(decode(unseal(sealed).header, Receipt).outcome).__name__.lower() for sealed in outbox.receipts()]
    waiting = outbox.waiting()
    return {
        "device": identity.device if identity else None,
        "federation": identity.federation if identity else None,
        "waiting": len(waiting),
        "waiting_bytes": sum(one.size for one in waiting),
        "waiting_ids": [one.id.hex() for one in waiting],
        **{end: ends.count(end) for end in ("counted", "refused", "abandoned")},
        "sent": outbox.sends(),
        "newest_window": outbox.newest.window,
    }


def _tell(told: dict[str, Any], text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(told, ensure_ascii=False) if as_json else text)


def _setting(name: str, given: str | Path | None) -> str:
    """What was given as an option, else by the environment."""
    from mizzle.device.environment import environment  # noqa: PLC0415  # as above

    value = str(given) if given else environment().get(name)
    if not value:
        raise Misconfigured(f"{name} is not set: set it, or give --{name.removeprefix('MIZZLE_').lower()}")
    return value


@contextmanager
def _answered() -> Iterator[None]:
    """Turn what Mizzle raises into a sentence on stderr and an exit status."""
    try:
        yield
    except MizzleError as error:
        typer.echo(f"mizzle: {error}", err=True)
        raise typer.Exit(_exit_status(error)) from error


def _exit_status(error: MizzleError) -> int:
    match error:
        case Misconfigured():
            return MISCONFIGURED
        case Away():
            return UNREACHABLE
        case Unreadable():
            return UNVERIFIED
        case _:
            return 1


if __name__ == "__main__":
    app()
