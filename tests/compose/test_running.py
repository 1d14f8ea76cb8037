"""docker-compose.yml runs: its own commands, environments, files and health checks, and a window through all of it."""

import asyncio
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from queue import SimpleQueue

import msgspec
import pytest

import mizzle
from examples.watch import TRAINING
from mizzle import topics
from mizzle.codec import decode
from mizzle.device.enrol import broker_password, parse
from mizzle.device.home import OUTBOX, PASSWORD
from mizzle.device.outbox import Outbox
from mizzle.envelope import unseal
from mizzle.messages import Counted, Receipt
from mizzle.releases import Release
from mizzle.transport.bus import Arrived, BusEvent, Connected, Disconnected, Sent
from services.local.fleet import Fleet
from services.pipeline import FLOW
from tests.compose.conftest import FEDERATION, PUMPS, SERVERS, SERVICES, Running, token
from tests.examples.node import device as node_device

pytestmark = pytest.mark.xdist_group("compose")

NOT_AUTHORIZED = 0x87


def test_devices_let_in_by_the_operators_command_are_counted_in_a_release(running: Running) -> None:
    """The fixture has waited for every health check of the file: what they call well, works."""
    keys = dict(line.split() for line in running.project.run("operator", "keys").stdout.splitlines())

    async def first() -> Release:
        url = f"mqtt://reader@127.0.0.1:{running.port}"
        password = running.password("reader")
        async with aclosing(mizzle.follow(url, FEDERATION, keys["release"], since=0, password=password)) as releases:
            return await asyncio.wait_for(anext(releases), 60)

    release = asyncio.run(first())
    assert release.manifest.members >= 2
    homes = [device.home for device in running.devices]
    assert eventually(lambda: sum(is_counted(home, release.version) for home in homes) == release.manifest.members)


def is_counted(home: Path, version: int) -> bool:
    """Whether a receipt in the outbox of `home` says so of this release."""
    with Outbox(home / OUTBOX) as outbox:
        outcomes = [decode(unseal(sealed).header, Receipt).outcome for sealed in outbox.receipts()]
    return any(isinstance(outcome, Counted) and outcome.release == version for outcome in outcomes)


def eventually(holds: Callable[[], bool], timeout_s: float = 60) -> bool:
    """Whether it holds within that time; who writes it is another process and tells nobody."""
    until = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def test_a_device_keeps_its_password_for_itself_alone(running: Running) -> None:
    for device in running.devices:
        path = device.home / PASSWORD
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (device.password, 0o600)
    assert len({device.password for device in running.devices}) == len(PUMPS)


@pytest.mark.parametrize("password", [None, "wrong"])
@pytest.mark.parametrize("user", ["gateway", "pump-1", "nobody"])
def test_the_broker_refuses_who_has_no_password_or_a_wrong_one(
    running: Running, user: str, password: str | None
) -> None:
    assert isinstance(heard(running, user, password)[0], Disconnected)


def test_a_device_cannot_publish_under_anothers_name(running: Running) -> None:
    mine, other = (topics.up(FEDERATION, name, topics.Up.PROBE) for name in PUMPS[:2])
    password = running.devices[0].password
    assert reason(heard(running, PUMPS[0], password, publishes=mine)) != NOT_AUTHORIZED
    assert reason(heard(running, PUMPS[0], password, publishes=other)) == NOT_AUTHORIZED


def test_a_device_hears_what_is_said_to_it_and_nothing_that_is_said_to_another(running: Running) -> None:
    """The gateway speaks to both; a later word to all shows that nothing more is on its way."""
    listener = running.line(PUMPS[0], running.devices[0].password)
    coming: SimpleQueue[BusEvent] = SimpleQueue()
    for topic_filter in ("#", f"mz/1/{FEDERATION}/to/#", topics.every_to(FEDERATION, PUMPS[1])):
        listener.subscribe(topic_filter)
    own, last = topics.to(FEDERATION, PUMPS[0], "word"), f"mz/1/{FEDERATION}/pub/word"
    listener.subscribe(own)
    listener.subscribe(last)
    listener.open(coming.put)
    speaker = running.line("gateway-delivery", running.password("gateway"))
    speaker.open(lambda _event: None)
    said = (topics.to(FEDERATION, PUMPS[1], "word"), own, last)
    arrived: set[str] = set()
    until = time.monotonic() + 60
    while not arrived >= {own, last} and time.monotonic() < until:  # said again until the subscriptions are there
        for topic in said:
            speaker.publish(topic, b"x")
        arrived |= {event.topic for event in some(coming) if isinstance(event, Arrived)}
    for line in (listener, speaker):
        line.close()
    assert {topic for topic in arrived if topic.endswith("/word")} == {own, last}
    assert not [topic for topic in arrived if "/up/" in topic]


def some(coming: SimpleQueue[BusEvent]) -> list[BusEvent]:
    """What comes within a fifth of a second, and what has come by then."""
    time.sleep(0.2)
    return [coming.get() for _ in range(coming.qsize())]


def test_services_write_into_their_volumes_and_nowhere_else(running: Running) -> None:
    """Their containers are read-only; a file beside the mounts would have been refused there."""
    for name in ("setup", *SERVERS, *SERVICES):
        root = running.project.root(name)
        mounted = {mount["target"] for mount in running.project.services[name]["volumes"]}
        files = {f"/{path.relative_to(root)}" for path in root.rglob("*") if path.is_file() or path.is_symlink()}
        assert files == mounted, name


def heard(running: Running, user: str, password: str | None, publishes: str = "") -> list[BusEvent]:
    """What a client of this name hears until it is refused, or until it has published, or is let in."""
    bus = running.line(user, password)
    coming: SimpleQueue[BusEvent] = SimpleQueue()
    bus.open(coming.put)
    if publishes:
        bus.publish(publishes, b"x")
    end = (Disconnected, Sent) if publishes else (Disconnected, Connected)
    events = [coming.get(timeout=30)]
    while not isinstance(events[-1], end):
        events.append(coming.get(timeout=30))
    bus.close()
    return events


def reason(events: list[BusEvent]) -> int:
    """With which reason the broker answered a publication."""
    return next(event.reason for event in events if isinstance(event, Sent))


def test_redis_answers_nobody_without_a_password_and_keeps_services_from_what_is_not_theirs(running: Running) -> None:
    password = (running.project.volume("services-secrets") / "redis.password").read_text().strip()
    assert "NOAUTH" in redis_says(running, "PING")
    assert "WRONGPASS" in redis_says(running, "PING", user="default", password="")
    assert redis_says(running, "PING", user="mizzle", password=password) == "PONG"
    denied = (("FLUSHALL",), ("CONFIG", "GET", "*"), ("SHUTDOWN",), ("KEYS", "*"), ("ACL", "LIST"), ("SET", "x", "1"))
    for command in (*denied, ("FUNCTION", "FLUSH"), ("SCRIPT", "FLUSH")):
        assert "NOPERM" in redis_says(running, *command, user="mizzle", password=password), command


def redis_says(running: Running, *command: str, user: str | None = None, password: str | None = None) -> str:
    """What Redis answers to this user's command."""
    port = str(running.project.ports["redis", 6379])
    identity = ["--user", user, "--pass", password or ""] if user else []
    said = ["redis-cli", "-h", "127.0.0.1", "-p", port, "--no-auth-warning", *identity, *command]
    done = subprocess.run(said, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def test_each_service_sees_the_key_it_signs_with_and_nobody_elses(running: Running) -> None:
    for place in FLOW:
        root = running.project.root(place.service.replace("_", "-"))
        mounts = [path for path in root.rglob("*") if path.is_symlink()]
        seen = [key.stem for mount in mounts for key in mount.rglob("*.key")]
        assert seen == ([place.signs] if place.signs else []), place.service


def test_the_demos_wrists_are_let_in_once(running: Running) -> None:
    running.project.complete("demo-tokens")
    fleet = running.project.volume("fleet") / "fleet.json"
    passwords = running.project.volume("broker-secrets") / "passwords"
    before = fleet.read_text(), passwords.read_text()
    names = {wrist.name for wrist in msgspec.json.decode(before[0], type=Fleet).wrists}
    assert names == set(TRAINING)
    assert names <= {line.split(":")[0] for line in before[1].splitlines()}
    running.project.complete("demo-tokens")
    assert (fleet.read_text(), passwords.read_text()) == before


def test_the_demos_fleet_enrols(running: Running) -> None:
    """With the profile `demo` the broker starts after its tokens are made; here it reads them while it runs."""
    running.project.complete("demo-tokens")
    running.project.processes["broker"].kill(signal.SIGHUP)
    fleet, homes = running.project.start("fleet"), running.project.volume("fleet")
    assert eventually(lambda: all(belongs(homes / wrist) for wrist in TRAINING), 30), fleet.last_words
    fleet.kill()


def belongs(home: Path) -> bool:
    """Whether the device of this home has its identity."""
    if not (home / OUTBOX).exists():
        return False
    with Outbox(home / OUTBOX) as outbox:
        return outbox.identity is not None


def test_a_device_in_another_language_is_let_in_by_its_token_alone(running: Running) -> None:
    """It was written from schemas/README.md: it derives the same password, enrols, and keeps what it derived."""
    name, home = "pump-node", running.project.folder / "pump-node"
    line = token(running.project, name)
    program = node_device(running.project.processes, f"mqtt://127.0.0.1:{running.port}", line, home)
    assert eventually(lambda: '"identity"' in journal(home)), program.child.last_words
    assert f'"password":"{broker_password(parse(line).secret)}"' in journal(home)
    program.child.kill()


def journal(home: Path) -> str:
    """What the Node device has written down."""
    path = home / "journal.jsonl"
    return path.read_text() if path.exists() else ""
