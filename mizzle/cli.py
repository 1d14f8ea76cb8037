"""`mizzle NOUN VERB`: what a device team and an integrator do by hand. Results go to stdout, talk to stderr.

Exit status: 0 ok, 1 failed, 2 usage, 3 configuration, 4 not found, 6 unreachable, 9 verification, 10 unhealthy
(`mizzle explain 10`). Everything heavy is imported by the command that needs it, so that the others start at once.
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
    from mizzle.messages import Identity
    from mizzle.releases import Release
    from mizzle.tap import Keys
    from mizzle.transport.listening import Listening

MISCONFIGURED: Final = 3
NOT_FOUND: Final = 4
UNREACHABLE: Final = 6
UNVERIFIED: Final = 9
UNHEALTHY: Final = 10

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


@app.command()
def doctor(
    broker: BrokerOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,  # noqa: FBT002  # typer makes a flag of it
) -> None:
    """Say what is wrong with this device or its way to the federation, and the command that comes next.

    A password for the broker is that of the device, or in the file MIZZLE_BROKER_PASSWORD_FILE.
    """
    from mizzle import findings  # noqa: PLC0415  # as above
    from mizzle.device.doctor import examine  # noqa: PLC0415  # as above

    found = []
    with _answered():
        folder, url = Path(_setting("MIZZLE_HOME", home)), _setting("MIZZLE_BROKER", broker)
        for finding in examine(folder, url, password_file=_password_file()):
            _tell(finding.told, finding.text, as_json=as_json)
            found.append(finding)
    typer.echo(findings.conclusion(found), err=True)
    if not findings.are_well(found):
        raise typer.Exit(UNHEALTHY)


@app.command()
def explain(
    code: Annotated[str | None, typer.Argument(help="A reason, or an exit status; without it, all are listed.")] = None,
    as_json: JsonOption = False,  # noqa: FBT002  # as above
) -> None:
    """Explain a CODE: the word in a receipt, a decline or a log, or a command's exit status."""
    from mizzle import reasons  # noqa: PLC0415  # as above

    if code is None:
        for reason in reasons.REASONS:
            _tell(vars(reason), f"{reason.kind:<9} {reason.code:<16} {reason.what}", as_json=as_json)
        return
    found = reasons.explained(code)
    for reason in found:
        text = f"{reason.code}, {reasons.WHERE[reason.kind]}: {reason.what}\n  why: {reason.why}\n  do:  {reason.do}"
        _tell(vars(reason), text, as_json=as_json)
    if not found:
        near = reasons.similar(code)
        hint = f"; did you mean {', '.join(near)}?" if near else "."
        typer.echo(f"mizzle: {code!r} is no word of ours{hint} All of them: mizzle explain", err=True)
        raise typer.Exit(NOT_FOUND)


@app.command()
def tap(  # noqa: PLR0913, PLR0917  # each is an option of the command
    federation: Annotated[str | None, typer.Argument(help="Whose messages; else that of the device.")] = None,
    broker: BrokerOption = None,
    home: HomeOption = None,
    user: Annotated[str | None, typer.Option("--as", help="Whose rights to listen with: a device, gateway.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="A public key to verify with; may be repeated.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many messages.")] = None,
    as_json: JsonOption = False,  # noqa: FBT002  # as above
) -> None:
    """Show what goes over the broker, decoded and never its contents, until Ctrl-C.

    A password for the broker is that of the device, or in the file MIZZLE_BROKER_PASSWORD_FILE.
    """
    from mizzle import tap, topics  # noqa: PLC0415  # as above
    from mizzle.transport.bus import Connected, Disconnected  # noqa: PLC0415  # as above
    from mizzle.transport.listening import listening, user_in  # noqa: PLC0415  # as above

    with _answered():
        identity = _identity(home)
        named = federation or (identity.federation if identity else None)
        if named is None:
            raise Misconfigured("whose messages? Name the federation, or set MIZZLE_HOME to a device that is enrolled")
        known = [bytes.fromhex(one) for one in key or () if _is_key(one)]
        known += [identity.public_key, *(one.public_key for one in identity.keys)] if identity else []
        url = _setting("MIZZLE_BROKER", broker)
        rights = user_in(url) or user or (identity.device if identity else "tap")
        own = _home(home) if identity is not None and rights == identity.device else None
        with listening(url, rights, "tap", _password(own)) as line:
            line.bus.subscribe(topics.everything(named))
            up = line.next(20.0)
            if not isinstance(up, Connected):
                raise Away(
                    f"the broker does not let {rights} in: {up.why if isinstance(up, Disconnected) else 'silence'}"
                )
            typer.echo(f"listening to {named} with the rights of {rights}; Ctrl-C ends it", err=True)
            _show_all(line, tap.keys_of(known), named, count, as_json=as_json)


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


def _show_all(line: Listening, keys: Keys, federation: str, count: int | None, *, as_json: bool) -> None:
    from mizzle.tap import see  # noqa: PLC0415  # as above
    from mizzle.transport.bus import Arrived, Disconnected  # noqa: PLC0415  # as above

    while count is None or count > 0:
        match line.next(60.0):
            case Arrived() as arrived:
                seen, keys = see(arrived, keys, federation)
                _tell({**vars(seen), "more": dict(seen.more)}, seen.line, as_json=as_json)
                count = None if count is None else count - 1
            case Disconnected(why=why):
                typer.echo(f"the line is down: {why}", err=True)


def _home(given: Path | None) -> Path | None:
    """The home that is given or set; None if none is."""
    from mizzle.device.environment import environment  # noqa: PLC0415  # as above

    return given or (Path(environment()["MIZZLE_HOME"]) if environment().get("MIZZLE_HOME") else None)


def _password_file() -> Path | None:
    """The file that is set to hold a password for the broker; None if none is."""
    from mizzle.device.environment import environment  # noqa: PLC0415  # as above
    from mizzle.transport.passwords import VARIABLE  # noqa: PLC0415  # as above

    return Path(environment()[VARIABLE]) if environment().get(VARIABLE) else None


def _password(home: Path | None) -> str | None:
    """The password for the broker: of the file that is set, else of the device in this home; None if there is none."""
    from mizzle.device.home import kept_password  # noqa: PLC0415  # as above
    from mizzle.transport.passwords import read  # noqa: PLC0415  # as above

    if (file := _password_file()) is not None:
        return read(file)
    return kept_password(home) if home is not None else None


def _identity(home: Path | None) -> Identity | None:
    """Whose device lives in the home that is given or set; None if none is, or it is not enrolled."""
    from mizzle.codec import decode  # noqa: PLC0415  # as above
    from mizzle.device.home import OUTBOX  # noqa: PLC0415  # as above
    from mizzle.device.outbox import Outbox  # noqa: PLC0415  # as above
    from mizzle.envelope import unseal  # noqa: PLC0415  # as above
    from mizzle.messages import Identity  # noqa: PLC0415  # as above

    folder = _home(home)
    if folder is None or not (folder / OUTBOX).exists():
        return None
    with Outbox(folder / OUTBOX) as outbox:
        return decode(unseal(outbox.identity).header, Identity) if outbox.identity else None


def _is_key(text: str) -> bool:
    if len(text) == 64 and all(digit in "0123456789abcdef" for digit in text):  # noqa: PLR2004  # 32 bytes
        return True
    raise Misconfigured(f"--key is a public key, 64 hexadecimal digits; got {len(text)} characters")


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
