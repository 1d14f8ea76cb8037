"""What may be wrong where the services run: ledger, keys, payloads, Redis, and the pulse of every service.

Everything is looked at and nothing is changed, so it may be asked at any time, also while nothing works.
"""

from __future__ import annotations

import os
import time
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

import redis

from mizzle import findings
from mizzle.errors import Away, Misconfigured, MizzleError
from mizzle.findings import Finding
from services.ledger import conservation, federations, keys
from services.ledger.engine import reading
from services.ledger.ledger import Ledger
from services.pipeline import FLOW
from services.runtime.equipment import log_of
from services.runtime.redis_log import connected
from services.runtime.shell import health

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.pipeline import Hop
    from services.runtime.settings import Settings

LEAST_REDIS: Final = 7
LONGEST_WAIT_S: Final = 60.0
CLI: Final = 'redis-cli -u "$REDIS_URL"'
"""As the environment has it: a password in the address is not for a terminal."""


def examine(settings: Settings) -> Iterator[Finding]:
    """What is found, one thing after the other; without a ledger there is no federation to look for."""
    try:
        ledger = Ledger.open(settings.ledger, settings.federation)
        yield from _ledger(ledger)
    except MizzleError as error:
        yield Finding("ledger", str(error), _mend(settings, error))
        return
    yield from _keys(settings, ledger)
    yield _payloads(settings)
    store = _redis(settings)
    yield store
    if store.next == f"{CLI} ping":
        return
    for hop in FLOW:
        yield _pulse(hop, settings, ledger)
    yield _letters(settings, ledger)


def _ledger(ledger: Ledger) -> Iterator[Finding]:
    with reading(ledger.engine) as tx:
        found = conservation.accounts(tx, ledger.federation)
        halted = federations.halted(tx, ledger.federation, found.window)
    end = f", and it has ended: {halted.halt.why}" if halted else ""
    yield Finding("ledger", f"{ledger.federation} has come to window {found.window}, release {found.version}{end}")
    if found.difference:
        what = f"{found.difference} updates are not accounted for: what was admitted is not what has ended or is open"
        yield Finding("accounts", what, "python -m services.ledger verify")
    else:
        yield Finding("accounts", f"all {sum(found.outcomes.values())} updates are accounted for")


def _mend(settings: Settings, error: MizzleError) -> str:
    if isinstance(error, Away):
        return f"df -h {quote(settings.ledger.removeprefix('sqlite:///'))}"
    for sign, command in (
        ("there is no ledger", "python -m services.ledger create --plan plan.toml"),
        ("tables of version", "python -m services.ledger migrate"),
        ("knows no federation", "env | grep MIZZLE_FEDERATION"),
    ):
        if sign in str(error):
            return command
    return "env | grep MIZZLE_LEDGER"


def _keys(settings: Settings, ledger: Ledger) -> Iterator[Finding]:
    """Each private key: whether it is there, its owner's alone, and the one that devices were told of."""
    with reading(ledger.engine) as tx:
        known: dict[str, bytes] = {key.role: key.public_key for key in federations.server_keys(tx, ledger.federation)}
    for role in keys.ROLES:
        path = settings.keys / f"{role}.key"
        try:
            key = keys.read(settings.keys, role)
        except Misconfigured as error:
            yield Finding(f"{role} key", str(error), f"ls -la {quote(str(settings.keys))}")
            continue
        if key.public_key != known.get(role):
            what = f"{path} is another key than the federation's: put that one back, nobody believes what this signs"
            yield Finding(f"{role} key", what, f"ls -la {quote(str(settings.keys))}")
            continue
        yield findings.private(f"{role} key", quote(str(path)), path.stat().st_mode)


def _payloads(settings: Settings) -> Finding:
    folder = settings.payloads
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = f"{folder} is no folder that may be written: the gateway can take no update"
        return Finding("payloads", what, f"mkdir -m 700 -p {quote(str(folder))}")
    place = os.statvfs(folder)
    free = place.f_bavail * place.f_frsize
    if free < settings.payload_bytes // 20:
        return Finding("payloads", f"{folder} has {free:,} bytes left", f"df -h {quote(str(folder))}")
    return Finding("payloads", f"{folder} has room")


def _redis(settings: Settings) -> Finding:
    """Whether Redis answers, is new enough, and forgets nothing by itself."""
    try:
        told: Any = connected(settings.redis_url).info()
    except (redis.RedisError, Misconfigured) as error:
        return Finding("redis", f"Redis does not answer: {error}", f"{CLI} ping")
    version, policy = str(told.get("redis_version", "0")), told.get("maxmemory_policy", "noeviction")
    if int(version.partition(".")[0]) < LEAST_REDIS:
        return Finding("redis", f"it is Redis {version}, wanted {LEAST_REDIS} at least", f"{CLI} info server")
    if policy != "noeviction":
        what = f"its policy is {policy}: it throws streams away when its memory is full"
        return Finding("redis", what, f"{CLI} config set maxmemory-policy noeviction")
    return Finding("redis", f"Redis {version} answers and throws nothing away")


def _pulse(hop: Hop, settings: Settings, ledger: Ledger) -> Finding:
    """Whether the service's loop turns, and keeps up with what it reads."""
    report = health(hop, settings)
    try:
        lags = log_of(hop, settings, ledger).lags()
    except Away as away:
        return Finding(hop.service, str(away), f"{CLI} ping")
    behind = ", ".join(f"{lag.entries} on {name}" for name, lag in lags.items() if lag.entries)
    behind = f"; not read: {behind}" if behind else ""
    if not report["healthy"]:
        # Another one takes its place by a newer epoch, and one that was only stopped then ends by itself.
        return Finding(hop.service, f"{report['why']}{behind}", f"python -m services.{hop.service}")
    now = time.time_ns() // 1_000_000
    waits = max((now - lag.since for lag in lags.values() if lag.entries), default=0) / 1000
    if waits > LONGEST_WAIT_S:
        what = f"it turns and does not keep up: the oldest entry has waited {waits:.0f} s{behind}"
        return Finding(hop.service, what, f"python -m services.{hop.service} health")
    return Finding(hop.service, f"its loop turned {report['pulse_age_ms']} ms ago{behind}")


def _letters(settings: Settings, ledger: Ledger) -> Finding:
    """How many dead letters there are: whoever sends poison fills them, so they are no illness of ours."""
    try:
        count = log_of(FLOW[0], settings, ledger).letters()
    except Away as away:
        return Finding("letters", str(away), f"{CLI} ping")
    return Finding("letters", f"{count} dead letters; the log of the service that buried one says why")
