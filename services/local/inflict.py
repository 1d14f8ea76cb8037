"""What a misfortune does to a federation, and what ends it again."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import redis

from services.local.faults import Mode
from services.local.misfortune import ON_WAYS, Kind, Misfortune
from services.local.waiting import wait_for_port
from services.local.wire import Weather

if TYPE_CHECKING:
    from services.local.ordeal import Ordeal

PATIENCE_S = 10.0

End = Callable[[], None]
"""What ends a misfortune."""


def inflict(there: Ordeal, what: Misfortune) -> End | None:
    """Let it befall the federation; what ends it, or None where it could befall nothing just now."""
    if what.kind in ON_WAYS:
        return _on_the_way(there, what)
    match what.kind:
        case Kind.KILL_SERVICE | Kind.KILL_DEVICES | Kind.KILL_STORE | Kind.KILL_BROKER:
            return _signalled(there, what.target, signal.SIGKILL)
        case Kind.RESTART_SERVICE:
            return _signalled(there, what.target, signal.SIGTERM)
        case Kind.PAUSE_SERVICE | Kind.PAUSE_DEVICES | Kind.PAUSE_STORE | Kind.PAUSE_BROKER:
            return _paused(there, what.target)
        case Kind.SUCCEED_SERVICE:
            return _succeeded(there, what.target)
        case Kind.WIPE_BROKER:
            return _wiped(there)
        case Kind.FLUSH_STORE:
            return _flushed(there)
        case Kind.ROLL_BACK_STORE:
            return _set_back(there)
        case _:
            return _nothing if there.witness.say_again(what.amount) else None


def _on_the_way(there: Ordeal, what: Misfortune) -> End:
    way, seconds = there.ways[what.target], what.amount / 1000
    match what.kind:
        case Kind.CUT:
            way.switch(Mode.CUT)
        case Kind.HOLD:
            way.switch(Mode.HOLD)
        case Kind.HOLD_ANSWERS:
            way.switch(Mode.HOLD_ANSWERS)
        case Kind.CUT_AFTER:
            way.befall(Weather(cut_after=what.amount))
        case Kind.LOSE_ANSWERS:
            way.befall(Weather(loses_answers=True))
        case Kind.DELAY if what.amount % 2:
            way.befall(Weather(up_s=seconds))
        case Kind.DELAY:
            way.befall(Weather(down_s=seconds))
        case _:
            way.befall(Weather(spread_s=seconds))
    return partial(there.mend, what.target)


def _signalled(there: Ordeal, name: str, signum: signal.Signals) -> End | None:
    child = there.processes[name]
    if child.returncode is not None:
        return None
    child.kill(signum)
    return _nothing


def _paused(there: Ordeal, name: str) -> End | None:
    child = there.processes[name]
    if _signalled(there, name, signal.SIGSTOP) is None:
        return None
    return partial(child.kill, signal.SIGCONT)


def _succeeded(there: Ordeal, name: str) -> End | None:
    """Stop a service and start a second one, which takes its place: the first finds that out when it goes on."""
    successor = f"{name}-successor"
    end = _paused(there, name)
    if end is None or there.runs(successor):
        return end
    there.processes.start_beside(name, successor)
    return end


def _wiped(there: Ordeal) -> End:
    def wipe() -> None:
        (there.federation.folder / "broker" / "mosquitto.db").unlink(missing_ok=True)

    while_down(there, "broker", there.federation.broker.port, wipe)
    return _nothing


def _flushed(there: Ordeal) -> End | None:
    try:
        with redis.Redis.from_url(there.federation.redis_url, socket_timeout=PATIENCE_S) as client:
            client.flushall()
    except redis.RedisError:
        return None
    return _nothing


def _set_back(there: Ordeal) -> End | None:
    """Remember what Redis has on its disk now; when this ends it is killed and has that again."""
    there_now, kept = there.store_folder, there.store_folder.with_name("store-before")
    if there.terms.aof == "no":
        try:
            with redis.Redis.from_url(there.federation.redis_url, socket_timeout=PATIENCE_S) as client:
                client.save()
        except redis.RedisError:
            return None
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(there_now, kept)
    (there_now / "dump.rdb").unlink(missing_ok=True)  # a Redis without AOF that is killed forgets everything

    def put_back() -> None:
        shutil.rmtree(there_now)
        kept.rename(there_now)

    def set_back() -> None:
        while_down(there, "store", there.store_port, put_back)
        (there_now / "dump.rdb").unlink(missing_ok=True)

    return set_back


def while_down(there: Ordeal, name: str, port: int, change: Callable[[], None]) -> None:
    """Kill a server, change its files, start it again and wait until it listens."""
    child = there.processes[name]
    child.kill()
    child.wait(PATIENCE_S)
    change()
    wait_for_port(port, there.processes.restart(name))


def _nothing() -> None:
    """It is over as soon as it has begun."""
