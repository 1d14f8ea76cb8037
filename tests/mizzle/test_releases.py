"""A follower gets every release once, oldest missed first, and only what the release key has signed."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from mizzle import topics
from mizzle.blobs import pieces
from mizzle.envelope import Key
from mizzle.errors import Misconfigured
from mizzle.manifest import Manifest, ModelFile, Privacy, cloud_event, moment, sign
from mizzle.releases import Place, Release, Trust, _place, follow, follow_bus
from mizzle.transport.bus import Bus
from mizzle.transport.memory import MemoryBroker, MemoryBus
from mizzle.transport.mqtt_bus import MqttBus
from services.local.broker import Broker
from tests.mqtt import Peer

KEY, STRANGER = Key(b"r" * 32), Key(b"s" * 32)
NOW = 1_790_000_000_000
HOUR = 3600 * 1000
FOR_EVER_H = 10**9
PATIENCE_S = 0.1
FOLLOWER = "follower"


def model(version: int) -> bytes:
    """A model of several pieces that knows its version."""
    return bytes(save({"weight": np.full((100, 200), version, np.float32), "bias": np.zeros(3, np.float32)}))


def sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


class History:
    """A federation's releases as they are signed, one after the other."""

    def __init__(self, federation: str) -> None:
        self.federation = federation
        self.made: dict[int, tuple[Manifest, bytes]] = {}
        self.last = 0

    def next(self, *, skip: int = 0, expires_h: int = 168, key: Key = KEY, model_size: int | None = None) -> int:
        """Make a release, and return its version; the first one is 1."""
        version = self.last + 1 + skip
        body = model(version)
        made = Manifest(
            schema=1,
            federation=self.federation,
            version=version,
            window=version,
            members=12,
            model=ModelFile(digest=sha256(body).hex(), size=model_size or len(body), format="safetensors"),
            plan="cd" * 32,
            previous=sha256(self.manifest(self.last)).hex() if self.last else None,
            issued=moment(NOW),
            expires=moment(NOW + expires_h * HOUR),
            privacy=Privacy(epsilon=1.0, delta=1e-5, sentence="a number with a sentence"),
        )
        self.made[version] = (made, sign(made, key.sign, key.public_key))
        self.last = version
        return version

    def event(self, version: int) -> bytes:
        made, envelope = self.made[version]
        return cloud_event(self.federation, envelope, made)

    def manifest(self, version: int) -> bytes:
        return self.made[version][1]


class Mirror:
    """A broker, and what the gateway puts there."""

    def __init__(self, federation: str = "watch-har", patience_s: float = 60.0) -> None:
        self.patience_s = patience_s
        self.broker = MemoryBroker()
        self.history = History(federation)
        self.gateway: Bus = MemoryBus(self.broker, "gateway")
        self.gateway.open(lambda _: None)

    def keep(self, blob: bytes) -> None:
        for index, piece in enumerate(pieces(blob)):
            self.gateway.publish(topics.blob(self.history.federation, sha256(blob), index), piece, retain=True)

    def announce(self, version: int) -> None:
        self.say(self.history.event(version))

    def say(self, event: bytes) -> None:
        self.gateway.publish(topics.release(self.history.federation), event, retain=True)

    def put(self, version: int) -> None:
        """Put everything of a release there, the event last."""
        self.keep(self.history.manifest(version))
        self.keep(model(version))
        self.announce(version)

    def release(self, count: int = 1, expires_h: int = 168) -> None:
        """Make releases and put everything of them there."""
        for _ in range(count):
            self.put(self.history.next(expires_h=expires_h))

    def follower(self, place: Place | None = None) -> AsyncGenerator[Release, None]:
        bus = MemoryBus(self.broker, FOLLOWER, session_expiry_s=0)
        trust = Trust(self.history.federation, KEY.public_key)
        return follow_bus(bus, trust, place or Place(), now=lambda: NOW, patience_s=self.patience_s)


@pytest.fixture
def mirror() -> Mirror:
    """With followers that wait for as long as a busy machine may need."""
    return Mirror()


@pytest.fixture
def hasty() -> Mirror:
    """With followers that soon take what has not come for what is not kept."""
    return Mirror(patience_s=PATIENCE_S)


async def taken(follower: AsyncGenerator[Release, None], count: int) -> list[Release]:
    """The next releases; the follower has ended then."""
    async with asyncio.timeout(20), aclosing(follower) as releases:
        return [await anext(releases) for _ in range(count)]


def versions(releases: list[Release]) -> list[int]:
    return [release.version for release in releases]


def gaps(releases: list[Release]) -> list[int]:
    return [release.version for release in releases if release.gap]


@contextmanager
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What a follower warns of inside the context."""
    found: list[str] = []
    with caplog.at_level(logging.WARNING, "mizzle.releases"):
        yield found
    found += [record.getMessage() for record in caplog.records]


def test_who_comes_late_gets_every_release_oldest_first(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    mirror.release(4)
    with warnings(caplog) as warned:
        found = asyncio.run(taken(mirror.follower(), 4))
    assert (versions(found), gaps(found), warned) == ([1, 2, 3, 4], [], [])
    assert [release.model for release in found] == [model(version) for version in (1, 2, 3, 4)]
    assert [release.manifest for release in found] == [made for made, _ in mirror.history.made.values()]


def test_pieces_are_asked_for_no_longer_than_needed(mirror: Mirror) -> None:
    async def story() -> set[str]:
        mirror.release(2)
        async with asyncio.timeout(20), aclosing(mirror.follower()) as releases:
            await anext(releases)
            return set(mirror.broker._sessions[FOLLOWER].filters)

    assert asyncio.run(story()) == {topics.release("watch-har")}


def test_a_release_gives_its_tensors(mirror: Mirror) -> None:
    mirror.release()
    (found,) = asyncio.run(taken(mirror.follower(), 1))
    tensors = found.tensors()
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"weight": (100, 200), "bias": (3,)}
    assert np.all(tensors["weight"] == 1)


def test_who_has_some_gets_the_rest(mirror: Mirror) -> None:
    mirror.release(4)
    found = asyncio.run(taken(mirror.follower(Place(2)), 2))
    assert (versions(found), gaps(found)) == ([3, 4], [])


def test_a_version_that_was_never_made_is_no_gap(mirror: Mirror) -> None:
    """The digests say that nothing lies between."""
    mirror.release()
    mirror.put(mirror.history.next(skip=1))
    found = asyncio.run(taken(mirror.follower(Place(1)), 1))
    assert (versions(found), gaps(found)) == ([3], [])


def test_a_release_made_while_others_are_taken_comes_after_them(mirror: Mirror) -> None:
    async def story() -> list[int]:
        mirror.release(2)
        found = []
        async with asyncio.timeout(20), aclosing(mirror.follower()) as releases:
            async for release in releases:
                found.append(release.version)
                if release.version < 4:
                    mirror.release()
                if release.version == 5:
                    break
        return found

    assert asyncio.run(story()) == [1, 2, 3, 4, 5]


def test_a_line_that_comes_back_repeats_nothing(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> list[int]:
        mirror.release(2)
        async with asyncio.timeout(20), aclosing(mirror.follower()) as releases:
            found = [(await anext(releases)).version, (await anext(releases)).version]
            mirror.broker.cut(FOLLOWER)
            mirror.broker.mend(FOLLOWER)
            coming = asyncio.ensure_future(anext(releases))
            await asyncio.wait({coming}, timeout=2 * PATIENCE_S)
            assert not coming.done()
            mirror.release()
            return [*found, (await coming).version]

    with warnings(caplog) as warned:
        assert asyncio.run(story()) == [1, 2, 3]
    assert warned == []


def refused(mirror: Mirror, event: bytes, place: Place, caplog: pytest.LogCaptureFixture) -> str:
    """The only warning that `event` causes; the next release comes all the same, and nothing before it."""

    async def story() -> Release:
        mirror.say(event)
        async with asyncio.timeout(20), aclosing(mirror.follower(place)) as releases:
            coming = asyncio.ensure_future(anext(releases))
            await asyncio.wait({coming}, timeout=2 * PATIENCE_S)
            assert not coming.done()
            mirror.release()
            return await coming

    with warnings(caplog) as warned:
        assert asyncio.run(story()).version == mirror.history.last
    (warning,) = warned
    return warning


def test_a_roll_back_is_refused(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    mirror.release(3)
    assert "roll-back" in refused(mirror, mirror.history.event(2), Place(3), caplog)


def test_a_roll_back_behind_a_release_that_is_still_awaited_is_refused(
    hasty: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> list[int]:
        hasty.keep(hasty.history.manifest(hasty.history.next()))
        hasty.announce(hasty.history.next())
        async with asyncio.timeout(20), aclosing(hasty.follower()) as releases:
            coming = asyncio.ensure_future(anext(releases))
            await asyncio.wait({coming}, timeout=4 * PATIENCE_S)
            hasty.keep(model(1))
            hasty.announce(1)
            await asyncio.wait({coming}, timeout=2 * PATIENCE_S)
            assert not coming.done()
            hasty.keep(model(2))
            hasty.announce(2)
            return [(await coming).version, (await anext(releases)).version]

    with warnings(caplog) as warned:
        assert asyncio.run(story()) == [1, 2]
    assert "roll-back" in warned[-1]


def test_a_release_of_a_stranger_is_refused(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    stranger = History("watch-har")
    event = stranger.event(stranger.next(key=STRANGER))
    assert "trusted here is" in refused(mirror, event, Place(), caplog)


def test_a_release_of_another_federation_is_refused(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    other = History("pumps")
    event = other.event(other.next())
    assert "'pumps'" in refused(mirror, event, Place(), caplog)


def test_an_event_that_is_none_is_refused(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    assert "not believed" in refused(mirror, b"\xff", Place(), caplog)


def test_an_expired_release_is_refused_while_it_is_the_newest(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    event = mirror.history.event(mirror.history.next(expires_h=0))
    assert "expired" in refused(mirror, event, Place(1), caplog)


def test_an_expired_release_is_taken_when_its_successor_vouches_for_it(mirror: Mirror) -> None:
    mirror.put(mirror.history.next(expires_h=-1))
    mirror.release()
    assert versions(asyncio.run(taken(mirror.follower(), 2))) == [1, 2]


def test_a_manifest_that_is_kept_no_more_makes_a_gap(hasty: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    hasty.history.next()
    hasty.history.next()
    hasty.release(2)
    with warnings(caplog) as warned:
        found = asyncio.run(taken(hasty.follower(), 2))
    assert (versions(found), gaps(found)) == ([3, 4], [3])
    assert [warning.partition(":")[0] for warning in warned] == ["the releases before 3 are not to be had"]


def test_a_manifest_of_a_stranger_makes_a_gap(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    mirror.put(mirror.history.next(key=STRANGER))
    mirror.release()
    with warnings(caplog) as warned:
        found = asyncio.run(taken(mirror.follower(), 1))
    assert (versions(found), gaps(found)) == ([2], [2])
    assert "trusted here is" in warned[0]


def test_an_old_model_that_is_kept_no_more_makes_a_gap(hasty: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    hasty.release()
    hasty.keep(hasty.history.manifest(hasty.history.next()))
    hasty.release(2)
    with warnings(caplog) as warned:
        found = asyncio.run(taken(hasty.follower(), 3))
    assert (versions(found), gaps(found)) == ([1, 3, 4], [3])
    assert "release 2 has no model" in warned[0]


def test_the_newest_model_is_asked_for_again_at_the_next_event(hasty: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> list[Release]:
        hasty.release()
        hasty.announce(hasty.history.next())
        async with asyncio.timeout(20), aclosing(hasty.follower()) as releases:
            found = [await anext(releases)]
            coming = asyncio.ensure_future(anext(releases))
            await asyncio.wait({coming}, timeout=3 * PATIENCE_S)
            assert not coming.done()
            hasty.keep(model(2))
            hasty.announce(2)
            return [*found, await coming]

    with warnings(caplog) as warned:
        found = asyncio.run(story())
    assert (versions(found), gaps(found)) == ([1, 2], [])
    assert "release 2 has no model" in warned[0]


def test_a_model_that_is_not_the_one_signed_is_not_taken(hasty: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> Release:
        version = hasty.history.next()
        hasty.keep(model(version))
        _, middle, _ = pieces(model(version))
        place = topics.blob("watch-har", sha256(model(version)), 1)
        hasty.gateway.publish(place, middle[:-1] + bytes([middle[-1] ^ 1]), retain=True)
        hasty.announce(version)
        async with asyncio.timeout(20), aclosing(hasty.follower()) as releases:
            coming = asyncio.ensure_future(anext(releases))
            await asyncio.wait({coming}, timeout=3 * PATIENCE_S)
            assert not coming.done()
            hasty.keep(model(version))
            hasty.announce(version)
            return await coming

    with warnings(caplog) as warned:
        assert asyncio.run(story()).model == model(1)
    assert "do not hash to their name" in warned[0]


def test_a_model_longer_than_signed_is_not_even_held(hasty: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    version = hasty.history.next(model_size=100)
    hasty.keep(model(version))
    with warnings(caplog) as warned:
        found = asyncio.run(taken_after(hasty, hasty.history.event(version)))
    assert versions(found) == [2]
    assert "at most 100 bytes" in warned[0]


async def taken_after(hasty: Mirror, event: bytes) -> list[Release]:
    """What comes first although `event` was first: the release after it."""
    hasty.say(event)
    async with asyncio.timeout(20), aclosing(hasty.follower()) as releases:
        coming = asyncio.ensure_future(anext(releases))
        await asyncio.wait({coming}, timeout=3 * PATIENCE_S)
        hasty.release()
        return [await coming]


def test_time_does_not_run_while_the_line_is_down(hasty: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    """Else every loss of the network would look like a release that is kept no more."""

    async def story() -> list[Release]:
        hasty.history.next()
        hasty.history.next()
        hasty.announce(2)
        async with asyncio.timeout(20), aclosing(hasty.follower()) as releases:
            coming = asyncio.ensure_future(anext(releases))
            await asyncio.wait({coming}, timeout=PATIENCE_S / 2)
            hasty.broker.cut(FOLLOWER)
            await asyncio.wait({coming}, timeout=3 * PATIENCE_S)
            for blob in (hasty.history.manifest(1), model(1), model(2)):
                hasty.keep(blob)
            hasty.broker.mend(FOLLOWER)
            return [await coming, await anext(releases)]

    with warnings(caplog) as warned:
        found = asyncio.run(story())
    assert (versions(found), gaps(found), warned) == ([1, 2], [], [])


def test_a_place_is_remembered_once_the_caller_comes_back(mirror: Mirror, tmp_path: Path) -> None:
    mirror.release(3)
    path = tmp_path / "watch-har.release"
    found = asyncio.run(taken(mirror.follower(Place(path=path)), 2))
    assert (versions(found), path.read_text()) == ([1, 2], "1 3\n")
    again = asyncio.run(taken(mirror.follower(_place(tmp_path, "watch-har", None)), 2))
    assert (versions(again), path.read_text()) == ([2, 3], "2 3\n")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_who_dies_with_a_release_in_its_hands_cannot_be_rolled_back_behind_it(
    mirror: Mirror, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest is remembered before the caller has it, and comes again."""

    async def story() -> int:
        async with asyncio.timeout(20), aclosing(mirror.follower(_place(tmp_path, "watch-har", None))) as releases:
            coming = asyncio.ensure_future(anext(releases))
            await asyncio.wait({coming}, timeout=2 * PATIENCE_S)
            assert not coming.done()
            mirror.announce(2)
            return (await coming).version

    mirror.release(2)
    asyncio.run(taken(mirror.follower(Place(path=tmp_path / "watch-har.release")), 1))
    mirror.announce(1)
    with warnings(caplog) as warned:
        assert asyncio.run(story()) == 1
    assert ["roll-back" in warning for warning in warned] == [True]


def test_a_follower_that_ends_leaves_the_broker(mirror: Mirror) -> None:
    mirror.release()
    bus = MemoryBus(mirror.broker, FOLLOWER, session_expiry_s=0)
    follower = follow_bus(bus, Trust("watch-har", KEY.public_key), Place(), now=lambda: NOW)
    asyncio.run(taken(follower, 1))
    assert not mirror.broker.is_up(bus)


@pytest.mark.parametrize("key", ["", "abc", "zz" * 32, "ab" * 31, b"ab" * 32])
def test_a_release_key_is_32_bytes_or_as_many_in_hexadecimal(key: bytes | str) -> None:
    with pytest.raises(Misconfigured, match="32 bytes or 64 hexadecimal digits"):
        asyncio.run(taken(follow("mqtt://127.0.0.1:1", "watch-har", key), 1))


@pytest.mark.parametrize("text", ["", "7", "seven eight", "1 2 3"])
def test_a_remembered_place_that_is_none_says_which_file_to_mend(text: str, tmp_path: Path) -> None:
    (tmp_path / "watch-har.release").write_text(text)
    with pytest.raises(Misconfigured, match=r"watch-har\.release"):
        asyncio.run(taken(follow("mqtt://127.0.0.1:1", "watch-har", KEY.public_key, folder=tmp_path), 1))


@contextmanager
def gateway(broker: Broker) -> Iterator[Bus]:
    """The gateway's line to a real broker; what it was told to publish is there after the context."""
    bus = MqttBus(f"mqtt://{broker.host}:{broker.port}", "gateway", session_expiry_s=0)
    bus.open(lambda _: None)
    try:
        yield bus
    finally:
        bus.close()


def test_follow_reads_a_real_broker_and_takes_up_where_it_was(broker: Broker, federation: str, tmp_path: Path) -> None:
    mirror, url = Mirror(federation), f"mqtt://{broker.host}:{broker.port}"
    with gateway(broker) as mirror.gateway:
        mirror.release(3, expires_h=FOR_EVER_H)
    first = asyncio.run(taken(follow(url, federation, KEY.public_key.hex(), folder=tmp_path), 3))
    assert (versions(first), gaps(first)) == ([1, 2, 3], [])
    assert [release.model for release in first] == [model(version) for version in (1, 2, 3)]
    with gateway(broker) as mirror.gateway:
        mirror.release(expires_h=FOR_EVER_H)
    second = asyncio.run(taken(follow(url, federation, KEY.public_key, since=1, folder=tmp_path), 2))
    assert versions(second) == [3, 4]


def test_a_follower_leaves_nothing_behind_at_the_broker(mosquitto: Broker, federation: str) -> None:
    mirror, url = Mirror(federation), f"mqtt://{mosquitto.host}:{mosquitto.port}"
    with gateway(mosquitto) as mirror.gateway:
        mirror.release(expires_h=FOR_EVER_H)
    asyncio.run(taken(follow(url, federation, KEY.public_key, client_id=federation), 1))
    with Peer(mosquitto.port, federation, session_s=1) as peer:
        assert not peer.session_present
