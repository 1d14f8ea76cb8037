"""What may be wrong where the services run: ledger, keys, payloads, Redis, and the pulse of every service.

Everything is looked at and nothing is changed, so it may be asked at any time, also while nothing works.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import redis

from mizzle import findings
from mizzle.errors import Away, Misconfigured, MizzleError
from mizzle.findings import REFUSALS, Finding
from mizzle.transport.bus import Connected, Disconnected
from mizzle.transport.listening import listening, user_in
from mizzle.transport.passwords import read as read_password
from services.doctor.remedies import REMEDIES
from services.ledger import conservation, federations, keys
from services.ledger.engine import Damaged, reading
from services.ledger.ledger import Ledger
from services.pipeline import FLOW
from services.runtime.equipment import log_of, redis_of
from services.runtime.shell import health

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.doctor.remedies import Remedies
    from services.doctor.sight import Sight
    from services.pipeline import Hop

GATEWAY: Final = "gateway"
"""Whose rights are taken where the broker's address names nobody."""

LEAST_REDIS: Final = 7
LEAST_LEDGER: Final = 64 * 1024 * 1024
"""So many bytes its log may take besides (`services.ledger.engine`), and some minutes to notice."""

LONGEST_WAIT_S: Final = 60.0
PATIENCE_S: Final = 5.0


def examine(sight: Sight) -> Iterator[Finding]:
    """What is found, one thing after the other; without a ledger there is no federation to look for."""
    remedies = REMEDIES[sight.run_by]
    try:
        ledger = Ledger.open(sight.ledger, sight.federation)
        yield from _ledger(ledger, remedies)
    except MizzleError as error:
        yield Finding("ledger", str(error), _mend(sight, remedies, error))
        return
    yield from _keys(sight.keys, ledger, remedies)
    if sight.payloads is not None:
        yield _payloads(sight.payloads, sight.payload_bytes, remedies)
    if sight.broker:
        yield _broker(sight, remedies)
    yield (store := _redis(sight, remedies))
    if store.next in {remedies.redis, remedies.redis_login}:
        return
    for hop in FLOW:
        yield _pulse(hop, sight, ledger, remedies)
    yield _letters(sight, ledger, remedies)


def _ledger(ledger: Ledger, remedies: Remedies) -> Iterator[Finding]:
    with reading(ledger.engine) as tx:
        found = conservation.accounts(tx, ledger.federation)
        halted = federations.halted(tx, ledger.federation, found.window)
    end = f", and it has ended: {halted.halt.why}" if halted else ""
    come = f"{ledger.federation} has come to window {found.window}, release {found.version}{end}"
    file = Path(ledger.engine.url.database or "")
    if (free := _free(file.parent)) < LEAST_LEDGER:
        what = f"{come}; its disk has {free:,} bytes left, and where it has none nothing is booked"
        yield Finding("ledger", what, remedies.room.format(quote(str(file))))
    else:
        yield Finding("ledger", come)
    if found.difference:
        what = f"{found.difference} updates are not accounted for: what was admitted is not what has ended or is open"
        yield Finding("accounts", what, remedies.verify)
    else:
        yield Finding("accounts", f"all {sum(found.outcomes.values())} updates are accounted for")


def _mend(sight: Sight, remedies: Remedies, error: MizzleError) -> str:
    file = quote(sight.ledger.removeprefix("sqlite:///"))
    if isinstance(error, Away):
        return remedies.room.format(file)
    if isinstance(error, Damaged):
        return remedies.damaged.format(file)
    for sign, command in (
        ("there is no ledger", remedies.create),
        ("tables of version", remedies.migrate),
        ("knows no federation", remedies.federation),
    ):
        if sign in str(error):
            return command
    return remedies.where


def _keys(folder: Path | None, ledger: Ledger, remedies: Remedies) -> Iterator[Finding]:
    """Each private key: whether it is there, its owner's alone, and the one that devices were told of."""
    if folder is None:
        yield Finding("keys", "none is seen from here; each service that signs starts with the federation's own only")
        return
    for role in keys.ROLES:
        path = folder / f"{role}.key"
        mend = remedies.key.format(role, quote(str(path)))
        try:
            key = keys.read(folder, role)
        except Misconfigured as error:
            yield Finding(f"{role} key", f"{error}: put that one back", mend)
            continue
        if key.public_key != ledger.server_key(role):
            what = f"{path} is another key than the federation's: put that one back, nobody believes what this signs"
            yield Finding(f"{role} key", what, mend)
            continue
        yield findings.private(f"{role} key", quote(str(path)), path.stat().st_mode)


def _payloads(folder: Path, most: int, remedies: Remedies) -> Finding:
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = f"{folder} is no folder that may be written: the gateway can take no update"
        return Finding("payloads", what, f"mkdir -m 700 -p {quote(str(folder))}")
    if (free := _free(folder)) < most // 20:
        return Finding("payloads", f"{folder} has {free:,} bytes left", remedies.room.format(quote(str(folder))))
    return Finding("payloads", f"{folder} has room")


def _free(folder: Path) -> int:
    """How many bytes the disk of this folder has left."""
    place = os.statvfs(folder)
    return place.f_bavail * place.f_frsize


def _broker(sight: Sight, remedies: Remedies) -> Finding:
    """Whether the broker takes MQTT 5 from us."""
    user = user_in(sight.broker) or GATEWAY
    try:
        password = read_password(sight.broker_password_file) if sight.broker_password_file else None
        with listening(sight.broker, user, "doctor", password) as line:
            first = line.until(lambda event: isinstance(event, Connected | Disconnected), PATIENCE_S)
    except Misconfigured as error:
        return Finding("broker", str(error), remedies.passwords)
    if isinstance(first, Connected):
        return Finding("broker", f"{sight.broker} takes MQTT 5 from {user}")
    why = first.why if isinstance(first, Disconnected) else f"no answer within {PATIENCE_S:g} s"
    what = f"{sight.broker} does not take MQTT 5 from {user}: {why}"
    if any(refusal in why for refusal in REFUSALS):
        return Finding("broker", what, remedies.passwords)
    place = urlsplit(sight.broker)
    hand = findings.reach(place.hostname or "", place.port or 0)
    return Finding("broker", what, remedies.again("broker") if sight.run_by == "compose" else hand)


def _redis(sight: Sight, remedies: Remedies) -> Finding:
    """Whether Redis answers, is new enough, forgets nothing by itself, and takes what is written."""
    try:
        told: Any = redis_of(sight).info()
    except redis.exceptions.NoPermissionError:
        return Finding("redis", "Redis answers; how it is set up, its user may not ask")
    except (redis.AuthenticationError, redis.ResponseError, Misconfigured) as error:
        return Finding("redis", f"Redis does not let us in: {error}", remedies.redis_login)
    except redis.RedisError as error:
        return Finding("redis", f"Redis does not answer: {error}", remedies.redis)
    version, policy = str(told.get("redis_version", "0")), told.get("maxmemory_policy", "noeviction")
    if int(version.partition(".")[0]) < LEAST_REDIS:
        return Finding("redis", f"it is Redis {version}, wanted {LEAST_REDIS} at least", remedies.redis_version)
    if policy != "noeviction":
        what = f"its policy is {policy}: it throws streams away when its memory is full"
        return Finding("redis", what, remedies.redis_policy)
    if told.get("aof_last_write_status", "ok") != "ok":
        return Finding("redis", "it refuses what is written: its disk is full, or does not answer", remedies.redis_disk)
    used, most = int(told.get("used_memory", 0)), int(told.get("maxmemory", 0))
    if most and used >= most:
        what = f"it refuses what is written: it has {used:,} bytes in memory and may have {most:,}"
        return Finding("redis", what, remedies.redis_memory)
    return Finding("redis", f"Redis {version} answers and throws nothing away")


def _pulse(hop: Hop, sight: Sight, ledger: Ledger, remedies: Remedies) -> Finding:
    """Whether the service's loop turns, and keeps up with what it reads."""
    report = health(hop, sight)
    name = hop.service.replace("_", "-") if sight.run_by == "compose" else hop.service
    try:
        lags = log_of(hop, sight, ledger).lags()
    except Away as away:
        return Finding(hop.service, str(away), remedies.redis)
    behind = ", ".join(f"{lag.entries} on {name}" for name, lag in lags.items() if lag.entries)
    behind = f"; not read: {behind}" if behind else ""
    if not report["healthy"]:
        return Finding(hop.service, f"{report['why']}{behind}", remedies.again(name))
    now = time.time_ns() // 1_000_000
    waits = max((now - lag.since for lag in lags.values() if lag.entries), default=0) / 1000
    if waits > LONGEST_WAIT_S:
        what = f"it turns and does not keep up: the oldest entry has waited {waits:.0f} s{behind}"
        return Finding(hop.service, what, remedies.slow.format(name))
    return Finding(hop.service, f"its loop turned {report['pulse_age_ms']} ms ago{behind}")


def _letters(sight: Sight, ledger: Ledger, remedies: Remedies) -> Finding:
    """How many dead letters there are: whoever sends poison fills them, so they are no illness of ours."""
    try:
        count = log_of(FLOW[0], sight, ledger).letters()
    except Away as away:
        return Finding("letters", str(away), remedies.redis)
    return Finding("letters", f"{count} dead letters; the log of the service that buried one says why")
