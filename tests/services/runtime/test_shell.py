"""A service as a process: what it does when it is killed, stopped, poisoned, succeeded, or told nonsense."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mizzle.messages import Answer, Unauthenticated
from services.local.child import Child
from services.local.processes import Processes
from services.local.waiting import free_port
from tests.services.grounds import Ear, Grounds, founded, python, surroundings

TINY = python("tests.services.runtime.tiny")


@pytest.fixture
def grounds(folder: Path, federation: str, redis_url: str) -> Grounds:
    return founded(folder, federation, redis_url)


def start(children: Processes, grounds: Grounds, name: str = "tiny", *, keep: bool = False) -> Child:
    return children.start(name, TINY, grounds.environ, keep=keep)


def delivery(device: str, reason: str = "forged") -> Unauthenticated:
    return Unauthenticated(device=device, reason=reason)


def answer(device: str) -> Answer:
    return Answer(device=device, kind="receipt", sealed=b"")


def health(environ: dict[str, str]) -> tuple[int, dict[str, Any]]:
    run = subprocess.run([*TINY, "health"], env=environ, capture_output=True, text=True, check=False)
    (line,) = run.stdout.splitlines()
    report: dict[str, Any] = json.loads(line)
    return run.returncode, report


def wait_for_health(grounds: Grounds, code: int, timeout_s: float) -> dict[str, Any]:
    until = time.monotonic() + timeout_s
    while (found := health(surroundings(grounds)))[0] != code:
        assert time.monotonic() < until, found
    return found[1]


def times_heard(grounds: Grounds, device: str) -> int:
    with grounds.ledger.engine.connect() as tx:
        wanted = text("SELECT times FROM heard WHERE device = :device")
        return int(tx.execute(wanted, {"device": device}).scalar_one())


def test_what_is_said_to_a_service_is_booked_and_answered(children: Processes, grounds: Grounds) -> None:
    start(children, grounds)
    grounds.say("refused", delivery("pump-1"), delivery("pump-2"))
    ear = Ear(grounds, "gateway")
    assert [ear.next(), ear.next()] == [answer("pump-1"), answer("pump-2")]


def test_a_kill_between_ledger_and_redis_heals_by_replay(children: Processes, grounds: Grounds) -> None:
    (grounds.folder / "payloads").mkdir()
    child = start(children, grounds)
    grounds.say("refused", delivery("pump-1", "die"), delivery("pump-2"))
    assert child.wait(10) == -signal.SIGKILL
    ear = Ear(grounds, "gateway")
    assert ear.waiting() == []
    children.restart("tiny")
    assert [ear.next(), ear.next()] == [answer("pump-1"), answer("pump-2")]
    assert times_heard(grounds, "pump-1") == 2
    assert ear.waiting() == []


def test_poison_is_a_dead_letter_at_the_third_try_and_the_next_entry_is_served(
    children: Processes, grounds: Grounds
) -> None:
    child = start(children, grounds)
    grounds.say("refused", delivery("pump-1"), delivery("pump-2", "poison"), delivery("pump-3"))
    ear = Ear(grounds, "gateway")
    assert [ear.next(), ear.next()] == [answer("pump-1"), answer("pump-3")]
    assert child.log.read_text().count('"event": "a step failed"') == 2
    assert '"event": "dead letter"' in child.log.read_text()
    assert child.returncode is None


def test_a_loop_that_is_stopped_fails_health_within_10_s(children: Processes, grounds: Grounds) -> None:
    child = start(children, grounds)
    well = wait_for_health(grounds, 0, 10)
    assert (well["service"], well["healthy"], well["why"]) == ("privacy_accountant", True, "")
    child.kill(signal.SIGSTOP)
    ill = wait_for_health(grounds, 10, 10)
    assert not ill["healthy"]
    assert "last turned" in ill["why"]
    child.kill(signal.SIGCONT)
    wait_for_health(grounds, 0, 5)


def test_a_pulse_from_the_future_is_none(grounds: Grounds) -> None:
    """A clock that was a day ahead when a service died must not keep it well for a day."""
    grounds.log("privacy_accountant").beat(time.time_ns() // 1_000_000 + 24 * 3_600_000, {})
    code, report = health(surroundings(grounds))
    assert (code, report["healthy"]) == (10, False)


def test_a_service_that_never_turned_is_not_healthy(grounds: Grounds) -> None:
    code, report = health(surroundings(grounds))
    assert (code, report["healthy"], report["pulse_age_ms"]) == (10, False, None)


def test_health_says_which_store_is_away(grounds: Grounds) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    code, report = health(surroundings(grounds) | {"REDIS_URL": nowhere})
    assert code == 10
    assert "Redis does not serve privacy_accountant" in report["why"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_asked_to_stop_commits_and_ends_with_0(
    children: Processes, grounds: Grounds, signum: signal.Signals
) -> None:
    child = start(children, grounds)
    grounds.say("refused", delivery("pump-1"))
    Ear(grounds, "gateway").next()
    child.kill(signum)
    assert child.wait(5) == 0
    children.restart("tiny")
    grounds.say("refused", delivery("pump-2"))
    ear = Ear(grounds, "gateway")
    assert [ear.next(), ear.next(), *ear.waiting()] == [answer("pump-1"), answer("pump-2")]


def test_a_service_whose_redis_is_away_still_stops_at_once(children: Processes, grounds: Grounds) -> None:
    nowhere = {**grounds.environ, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    child = children.start("tiny", TINY, nowhere)
    wait_for_log(child, '"event": "begin again"')
    child.kill(signal.SIGTERM)
    assert child.wait(2) == 0


def test_a_service_that_has_a_successor_ends_with_1_and_says_so(children: Processes, grounds: Grounds) -> None:
    first = start(children, grounds, "first")
    grounds.say("refused", delivery("pump-1"))
    ear = Ear(grounds, "gateway")
    assert ear.next() == answer("pump-1")
    second = start(children, grounds, "second")
    assert first.wait(10) == 1
    assert "epoch" in first.last_words
    grounds.say("refused", delivery("pump-2"))
    assert ear.next() == answer("pump-2")
    assert second.returncode is None


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("MIZZLE_FEDERATION", "elsewhere", "MIZZLE_FEDERATION"),
        ("MIZZLE_LEDGER", "sqlite:////nowhere/ledger.db", "/nowhere/ledger.db"),
        ("MIZZLE_BATCH", "0", "MIZZLE_BATCH"),
        ("MIZZLE_METRICS", "9100", "MIZZLE_METRICS"),
        ("MIZZLE_METRICS", "192.0.2.1:9100", "MIZZLE_METRICS"),
        ("MIZZLE_KEYS", "/nowhere", "/nowhere/receipt.key"),
        ("REDIS_URL", "http://127.0.0.1", "REDIS_URL"),
    ],
)
def test_a_wrong_setting_ends_it_with_3_and_is_named(grounds: Grounds, variable: str, value: str, wanted: str) -> None:
    environ = surroundings(grounds) | {variable: value}
    run = subprocess.run(TINY, env=environ, capture_output=True, text=True, check=False, timeout=20)
    assert run.returncode == 3
    assert wanted in run.stderr


def test_a_missing_setting_ends_it_with_3_and_is_named() -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MIZZLE_") and key != "REDIS_URL"}
    run = subprocess.run(TINY, env=environ, capture_output=True, text=True, check=False, timeout=20)
    assert run.returncode == 3
    assert "MIZZLE_FEDERATION" in run.stderr


def test_another_argument_is_answered_with_the_usage(grounds: Grounds) -> None:
    run = subprocess.run(
        [*TINY, "help"], env=surroundings(grounds), capture_output=True, text=True, check=False, timeout=20
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("usage: python -m services.privacy_accountant")


def wait_for_log(child: Child, words: str, timeout_s: float = 10.0) -> None:
    until = time.monotonic() + timeout_s
    while words not in child.log.read_text():
        assert time.monotonic() < until, child.last_words
        assert child.returncode is None, child.last_words
