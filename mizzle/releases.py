"""Follow a federation: every release, verified, oldest missed first.

The retained event on `topics.release` names the newest release. From there the `previous` digests of the signed
manifests lead back to the last one that was taken, or to the oldest that is still kept; then the models are fetched by
digest, oldest first. The broker is only a mirror (`mizzle.manifest` says what is believed): it can hold releases back,
which an expired manifest brings to light, and nothing worse.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mizzle import topics
from mizzle.blobs import Assembly
from mizzle.errors import Away, Misconfigured, Unreadable
from mizzle.manifest import MOST_BYTES, Manifest, authentic, follows, from_cloud_event, links, verify
from mizzle.model import named
from mizzle.transport import clock
from mizzle.transport.bus import Arrived, Bus, BusEvent, Connected, Disconnected
from mizzle.transport.mqtt_bus import MqttBus
from mizzle.transport.passwords import broker_password

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PATIENCE_S: Final = 20.0
"""How long the next piece of a blob is waited for while the line is up; the broker has it now or not at all."""

_KEY_BYTES: Final = 32
_BEFORE_ALL: Final = -1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """A model that a trusted key has signed; with a `gap`, releases between the last one taken and it are not kept."""

    version: int
    manifest: Manifest
    model: bytes = field(repr=False)
    gap: bool = False

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """The model's tensors by name; they are copies that may be written to."""
        return named(self.model)


async def follow(  # noqa: PLR0913  # each is a setting, and all but three have a default
    broker_url: str,
    federation: str,
    release_key: bytes | str,
    *,
    since: int | None = None,
    client_id: str | None = None,
    password: str | None = None,
    folder: Path | None = None,
) -> AsyncGenerator[Release, None]:
    """Every release after version `since`, for ever; without it, from the oldest that is kept.

    With a `folder` the place is remembered there and taken up again. A release counts as taken when the caller comes
    back for the next one, so after a crash, or a `break`, the same one comes once more; it is never skipped.

    Args:
        broker_url: `mqtt://host:port`, or `mqtt://user@host:port` where the broker asks for a password.
        federation: whose releases.
        release_key: the Ed25519 public key that signs them, as 32 bytes or 64 hexadecimal digits.
        since: the last version that the caller has.
        client_id: how the broker knows this follower; by default a name by chance.
        password: for the broker; by default what the file named by MIZZLE_BROKER_PASSWORD_FILE holds, if it is set.
        folder: where the last version taken is remembered, in a file per federation.

    Raises:
        Misconfigured: the URL, the key, the password file or the remembered version is none.
    """
    trust = Trust(federation, _key(release_key))
    place = _place(folder, federation, since)
    client_id = client_id or f"follower-{secrets.token_hex(8)}"
    password = broker_password(os.environ) if password is None else password
    bus = MqttBus(broker_url, client_id, password=password, session_expiry_s=0)
    async with aclosing(follow_bus(bus, trust, place)) as releases:
        async for release in releases:
            yield release


@dataclass(frozen=True)
class Trust:
    """Whom a follower believes, and for which federation."""

    federation: str
    key: bytes


@dataclass
class Place:
    """The last version that was taken, the newest that was believed, and the file that remembers both, if any.

    The newest is remembered before anything is made of it: so a reader that dies while it has a release in its hands
    gets that one once more, and can still not be rolled back to one before it.
    """

    version: int = _BEFORE_ALL
    path: Path | None = None
    newest: int = _BEFORE_ALL

    def __post_init__(self) -> None:
        self.newest = max(self.newest, self.version)

    def believe(self, version: int) -> None:
        """Hold `version` for the newest there is."""
        if version != self.newest:
            self.newest = version
            self._remember()

    def move(self, version: int) -> None:
        """Take `version`."""
        self.version = version
        self._remember()

    def _remember(self) -> None:
        """Write both down; a power cut at any moment leaves the old or the new ones in the file."""
        if self.path is None:
            return
        draft = self.path.with_suffix(".draft")
        with draft.open("w") as file:
            file.write(f"{self.version} {self.newest}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


async def follow_bus(
    bus: Bus, trust: Trust, place: Place, now: Callable[[], int] = clock.now, patience_s: float = PATIENCE_S
) -> AsyncGenerator[Release, None]:
    """What `follow` yields, over a bus that is not open yet; it is closed in the end."""
    line = _Line(bus, trust.federation, patience_s)
    line.open()
    try:
        while True:
            body = await line.announcement()
            manifest = _believed(body, trust, place, now())
            if manifest is None:
                continue
            place.believe(manifest.version)
            chain, gap = await _missed(line, trust, manifest, place.version)
            for release in chain:
                model = await _model(line, release)
                if model is None:
                    gap = True
                    continue
                yield Release(release.version, release, model, gap)
                place.move(release.version)
                gap = False
    finally:
        await asyncio.to_thread(bus.close)


def _believed(body: bytes, trust: Trust, place: Place, now: int) -> Manifest | None:
    """The manifest in an announcement that is news; the newest we know of still is, until it has been taken."""
    try:
        manifest = verify(from_cloud_event(body), [trust.key], trust.federation, now)
        if manifest.version == place.version:  # it is retained, so it comes again with every connection
            return None
        if manifest.version != place.newest:
            follows(manifest, place.newest)
    except Unreadable as error:
        _log.warning("an announced release is not believed: %s", error)
        return None
    return manifest


async def _missed(line: _Line, trust: Trust, newest: Manifest, taken: int) -> tuple[list[Manifest], bool]:
    """The manifests after version `taken`, oldest first, and whether some of them are not kept."""
    chain = [newest]
    while chain[0].previous is not None and chain[0].version > taken + 1:
        try:
            older = await _before(line, trust, chain[0])
        except (Away, Unreadable) as error:
            _log.warning("the releases before %d are not to be had: %s", chain[0].version, error)
            return chain, True
        if older.version <= taken:
            break
        chain.insert(0, older)
    return chain, False


async def _before(line: _Line, trust: Trust, newer: Manifest) -> Manifest:
    """The manifest that `newer` was made after; it may have expired since, as its successor vouches for it."""
    envelope = await line.blob(bytes.fromhex(newer.previous or ""), MOST_BYTES)
    older = authentic(envelope, [trust.key], trust.federation)
    links(newer, envelope)
    follows(newer, older.version)
    return older


async def _model(line: _Line, release: Manifest) -> bytes | None:
    """The release's model; None if the broker does not have it."""
    try:
        return await line.blob(bytes.fromhex(release.model.digest), release.model.size)
    except Away as error:
        _log.warning("release %d has no model yet or no more, the next event tries again: %s", release.version, error)
        return None


@dataclass
class _Wanted:
    assembly: Assembly
    whole: asyncio.Future[bytes]
    patience: asyncio.Timeout


class _Line:
    """A bus as one coroutine reads it: the newest announcement, and one blob at a time."""

    def __init__(self, bus: Bus, federation: str, patience_s: float) -> None:
        self._bus, self._federation, self._patience_s = bus, federation, patience_s
        self._loop = asyncio.get_running_loop()
        self._newest = b""
        self._news = asyncio.Event()
        self._wanted: _Wanted | None = None
        self._is_up = False

    def open(self) -> None:
        """Begin to listen; the bus does not wait for us, so its events come through the loop."""
        self._bus.open(self._pass_on)
        self._bus.subscribe(topics.release(self._federation))

    async def announcement(self) -> bytes:
        """The newest event, of those that came since the last one was asked for; waits as long as it must."""
        await self._news.wait()
        self._news.clear()
        return self._newest

    async def blob(self, digest: bytes, most: int) -> bytes:
        """The blob of this digest, at most `most` bytes long.

        Raises:
            Away: the line is up, and no piece of it has come for so long that the broker cannot have it.
        """
        pieces = topics.every_piece(self._federation, digest)
        self._bus.subscribe(pieces)
        try:
            async with asyncio.timeout(None) as patience:
                self._wanted = _Wanted(Assembly(digest, most), self._loop.create_future(), patience)
                self._be_patient()
                return await self._wanted.whole
        except TimeoutError as error:
            raise Away(f"the broker sent no piece of blob {digest.hex()} for {self._patience_s:g} s") from error
        finally:
            self._wanted = None
            self._bus.unsubscribe(pieces)

    def _pass_on(self, event: BusEvent) -> None:
        with suppress(RuntimeError):  # the loop has ended before the bus
            self._loop.call_soon_threadsafe(self._hear, event)

    def _hear(self, event: BusEvent) -> None:
        match event:
            case Connected() | Disconnected():
                self._is_up = isinstance(event, Connected)
                self._be_patient()
            case Arrived(topic=topic, body=body) if topic == topics.release(self._federation):
                self._newest = body
                self._news.set()
            case Arrived(topic=topic, body=body):
                self._add(topic, body)

    def _be_patient(self) -> None:
        """Start the time anew in which the next piece must come; it does not run while the line is down."""
        if self._wanted is not None and not self._wanted.patience.expired():
            self._wanted.patience.reschedule(self._loop.time() + self._patience_s if self._is_up else None)

    def _add(self, topic: str, piece: bytes) -> None:
        place, wanted = topics.parse_blob(topic), self._wanted
        if place is None or wanted is None or place[0] != wanted.assembly.digest or wanted.whole.done():
            return
        try:
            whole = wanted.assembly.add(place[1], piece)
        except Unreadable as error:
            _log.warning("a piece on %s is left out: %s", topic, error)
            return
        self._be_patient()
        if whole is not None:
            wanted.whole.set_result(whole)


def _key(text: bytes | str) -> bytes:
    try:
        key = bytes.fromhex(text) if isinstance(text, str) else text
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise Misconfigured(f"release_key is an Ed25519 public key, 32 bytes or 64 hexadecimal digits, got {text!r}")
    return key


def _place(folder: Path | None, federation: str, since: int | None) -> Place:
    """Where to begin: after `since` and after what the folder remembers."""
    begin = _BEFORE_ALL if since is None else since
    if folder is None:
        return Place(begin)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{federation}.release"
    try:
        taken, newest = map(int, path.read_text().split())
        return Place(max(begin, taken), path, newest)
    except FileNotFoundError:
        return Place(begin, path)
    except ValueError as error:
        wanted = f"{path} holds the last version taken and the newest believed"
        text = f"{wanted}, got {error}; mend it, or delete it to begin anew"
        raise Misconfigured(text) from error
