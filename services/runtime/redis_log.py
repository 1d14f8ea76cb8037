"""Streams in Redis as a service sees them: read after a cursor; commit state, cursors, outputs at once or not at all.

The position of a reader is part of its state and no consumer group's business: groups keep dealing entries to a reader
that has stopped, and their acks cannot be fenced (FACTS 13). A commit is one script that checks everything before it
writes anything, because neither MULTI nor Lua rolls back. It carries the epoch that the ledger issued to this reader
and the version of the state that it replaces; any difference means that what we remember is not so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.retry import Retry

from mizzle.errors import Away, Fenced, Misconfigured
from services.pipeline import DEAD, STRAY, Hop, readers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mizzle.topics import Keyspace

BEGINNING: Final = "0-0"
MOST_BATCH_BYTES: Final = 4 * 1024 * 1024
MOST_LETTERS: Final[Mapping[str, int]] = {DEAD: 10_000, STRAY: 10_000}
"""So many dead letters are kept, the newest; nobody reads them but people, so no reader trims them."""

MOST_WAITING: Final = 200_000
"""A stream with so many entries takes no more: its writer waits, and whoever writes to that waits too."""

_PIECE: Final = 1 << 16
"""A value of more bytes is sent from where it lies."""

_TAKE: Final = """
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and tonumber(epoch) > tonumber(ARGV[1]) then return {'newer', epoch} end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
redis.call('HINCRBY', KEYS[1], 'version', 1)
return {'taken', redis.call('HGETALL', KEYS[1])}
"""

# Outputs are written in their order, in runs of those that go to one stream: its key, how many entries stay there or
# nothing, their bodies. Each list is preceded by its length; a key is its index in KEYS. `refusal` looks at all of them
# before any is written.
_OUTPUTS: Final = """
local at = 0
local function take() at = at + 1; return ARGV[at] end
local function taken()
  local runs = {}
  for _ = 1, tonumber(take()) do
    local run = {key = KEYS[tonumber(take())], most = tonumber(take()), bodies = {}}
    for i = 1, tonumber(take()) do run.bodies[i] = take() end
    runs[#runs + 1] = run
  end
  return runs
end
local function refusal(runs, room)
  for _, run in ipairs(runs) do
    local kind = redis.call('TYPE', run.key).ok
    if kind ~= 'none' and kind ~= 'stream' then return {'type', run.key, kind} end
    if not run.most and redis.call('XLEN', run.key) >= room then return {'full', run.key} end
  end
end
local function write(runs)
  for _, run in ipairs(runs) do
    for _, body in ipairs(run.bodies) do redis.call('XADD', run.key, '*', 'm', body) end
    if run.most then redis.call('XTRIM', run.key, 'MAXLEN', '~', run.most) end
  end
end
"""

# ARGV: epoch, version, room, [state] or nothing, cursors (name, id), outputs, trims (stream key, name, reader keys).
# KEYS[1] is our own place.
_COMMIT: Final = f"""{_OUTPUTS}
local epoch, version, room = take(), take(), tonumber(take())
local held = redis.call('HMGET', KEYS[1], 'epoch', 'version')
if held[1] ~= epoch or held[2] ~= version then return {{'fenced', held[1] or '', held[2] or ''}} end
local fields = {{'version', string.format('%d', tonumber(version) + 1)}}
for _ = 1, tonumber(take()) do fields[#fields + 1] = 'state'; fields[#fields + 1] = take() end
for _ = 1, tonumber(take()) do fields[#fields + 1] = 'cursor:' .. take(); fields[#fields + 1] = take() end
local runs = taken()
local refused = refusal(runs, room)
if refused then return refused end
redis.call('HSET', KEYS[1], unpack(fields))
write(runs)
local function parts(id) local ms, n = string.match(id, '(%d+)-(%d+)'); return tonumber(ms), tonumber(n) end
for _ = 1, tonumber(take()) do
  local stream, name, lowest, low_ms, low_n = KEYS[tonumber(take())], take(), nil, nil, nil
  for _ = 1, tonumber(take()) do
    local cursor = redis.call('HGET', KEYS[tonumber(take())], 'cursor:' .. name) or '0-0'
    local ms, n = parts(cursor)
    if not lowest or ms < low_ms or (ms == low_ms and n < low_n) then lowest, low_ms, low_n = cursor, ms, n end
  end
  if lowest ~= '0-0' then redis.call('XTRIM', stream, 'MINID', lowest) end
end
return {{'done', fields[2]}}
"""

# ARGV: room, outputs.
_APPEND: Final = f"""{_OUTPUTS}
local room, runs = tonumber(take()), taken()
local refused = refusal(runs, room)
if refused then return refused end
write(runs)
return {{'done'}}
"""


# KEYS: streams. ARGV: a cursor for each. How many entries lie behind it, and the first of them. All before it are
# trimmed soon, so they are the ones to count; beyond a thousand of them the answer is too large.
_LAGS: Final = """
local found = {}
for i = 1, #KEYS do
  local read = #redis.call('XRANGE', KEYS[i], '-', ARGV[i], 'COUNT', 1000)
  local next = redis.call('XRANGE', KEYS[i], '(' .. ARGV[i], '+', 'COUNT', 1)
  found[i] = {redis.call('XLEN', KEYS[i]) - read, next[1] and next[1][1] or ''}
end
return found
"""

_AWAY: Final = (
    redis.ConnectionError,  # its line, or it is loading
    redis.TimeoutError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MasterDownError,
)
_WILL_PASS: Final = ("MISCONF", "NOREPLICAS", "BUSY")
"""What Redis says when its disk is full, replicas are missing or a script takes long; redis-py has no class for it."""


class Full(Away):
    """A stream takes no more entries until its readers have caught up: wait, and let whoever feeds us wait."""


@dataclass(frozen=True)
class Entry:
    """One entry of a stream, as it was written."""

    stream: str
    id: str
    body: bytes


@dataclass(frozen=True)
class Lag:
    """How many entries of a stream a service has not read, and when the oldest of them came, in ms; 0 if none has."""

    entries: int
    since: int


@dataclass(frozen=True)
class Place:
    """What a service has committed: its state, how far it has read, and the fence it must show at the next commit."""

    epoch: int
    version: int
    state: bytes | None = None
    cursors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """A message's bytes for one stream."""

    stream: str
    body: bytes


def connected(url: str, password: str | None = None) -> redis.Redis:
    """A client of the Redis at `url`; it retries nothing by itself and answers in the shapes of RESP 2.

    Raises:
        Misconfigured: `url` is none.
    """
    try:
        return redis.Redis.from_url(
            url,
            password=password,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            command_packer=_Packer(redis.ConnectionPool().get_encoder().encode),
            socket_timeout=5.0,
            socket_connect_timeout=2.0,
        )
    except ValueError as error:
        raise Misconfigured(f"REDIS_URL is redis://HOST:PORT/DB, got {url!r}: {error}") from error


class RedisLog:
    """The streams of one hop, and its own place among them."""

    def __init__(self, client: redis.Redis, space: Keyspace, hop: Hop, most_waiting: int = MOST_WAITING) -> None:
        """A log for `hop` in this keyspace; nothing is asked of Redis yet."""
        self._client, self._space, self._hop, self._most_waiting = client, space, hop, most_waiting
        self._take = client.register_script(_TAKE)
        self._commit = client.register_script(_COMMIT)
        self._append = client.register_script(_APPEND)

    @property
    def reads(self) -> tuple[str, ...]:
        """The streams that the hop reads."""
        return self._hop.reads

    def take(self, epoch: int) -> Place:
        """Hold this hop's place under an epoch that the ledger has just issued, and see what was committed there.

        Raises:
            Fenced: a newer epoch holds it.
        """
        answer = self._run(self._take, [self._space.place(self._hop.service)], [epoch])
        if answer[0] == b"newer":
            text = f"{self._hop.service} is held by epoch {int(answer[1])}, ours is {epoch}"
            raise Fenced(f"{text}: a successor runs, this process ends")
        stored = dict(zip(answer[1][::2], answer[1][1::2], strict=True))
        cursors = {name: stored.get(f"cursor:{name}".encode(), BEGINNING.encode()).decode() for name in self._hop.reads}
        return Place(epoch=epoch, version=int(stored[b"version"]), state=stored.get(b"state"), cursors=cursors)

    def read(self, cursors: Mapping[str, str], count: int, wait_ms: int) -> list[Entry]:
        """At most `count` entries of each stream after its cursor, some 4 MiB in all; waits `wait_ms` for the first."""
        names = {self._space.stream(name).encode(): name for name in self._hop.reads}
        keys = {key: cursors[name] for key, name in names.items()}
        answer = self._ask(self._client.xread, keys, count=count, block=wait_ms)
        return _bounded(
            Entry(stream=names[key], id=entry.decode(), body=fields[b"m"])
            for key, rows in answer
            for entry, fields in rows
        )

    def commit(
        self, place: Place, state: bytes | None, cursors: Mapping[str, str], outputs: Sequence[Output] = ()
    ) -> Place:
        """Replace what `place` remembers, write `outputs` and trim what every reader has read: all of it, or nothing.

        Raises:
            Fenced: the stored epoch or version is another one.
            Full: an output stream takes no more.
        """
        keys = _Keys(self._space.place(self._hop.service))
        argv: list[Any] = [place.epoch, place.version, self._most_waiting]
        argv += [0] if state is None else [1, state]
        argv += [len(cursors), *(part for name, entry in cursors.items() for part in (name, entry))]
        argv += self._runs(keys, outputs)
        argv += [len(self._hop.reads)]
        for name in self._hop.reads:
            places = [keys.index(self._space.place(service)) for service in readers(name)]
            argv += [keys.index(self._space.stream(name)), name, len(places), *places]
        answer = self._run(self._commit, keys.found, argv)
        _refuse(answer)
        return replace(place, version=int(answer[1]), state=state or place.state, cursors=dict(cursors))

    def append(self, outputs: Sequence[Output]) -> None:
        """Write what came from outside: nothing is replaced by it, so there is nothing to fence.

        Raises:
            Full: an output stream takes no more.
        """
        if outputs:
            keys = _Keys()
            argv = [self._most_waiting, *self._runs(keys, outputs)]
            _refuse(self._run(self._append, keys.found, argv))

    def holder(self) -> int:
        """The epoch that holds this hop's place now; 0 if nobody does."""
        return self.fence()[0]

    def fence(self) -> tuple[int, int]:
        """The epoch that holds this hop's place now, and the version of what is committed; zeros if nobody does."""
        held: Any = self._ask(self._client.hmget, self._space.place(self._hop.service), "epoch", "version")
        return int(held[0] or 0), int(held[1] or 0)

    def tries(self, entry: Entry) -> int:
        """How often this entry has been begun, this time included; it survives the reader's death."""
        key = f"{self._space.place(self._hop.service)}:tries"
        count: Any = self._ask(self._client.hincrby, key, f"{entry.stream}:{entry.id}", 1)
        self._ask(self._client.expire, key, 3600)
        return int(count)

    def forget(self, entry: Entry) -> None:
        """Count no longer how often this entry was begun: it has come to its end."""
        self._ask(self._client.hdel, f"{self._space.place(self._hop.service)}:tries", f"{entry.stream}:{entry.id}")

    def dead(self, entry: Entry, service: str, why: str) -> Output:
        """The dead letter for an entry that nobody could read: its bytes, where they stood, and the reason."""
        letter = {"stream": entry.stream, "entry": entry.id, "service": service, "why": why, "body": entry.body}
        return Output(DEAD, msgspec.msgpack.encode(letter))

    def beat(self, at: int, behind: Mapping[str, str]) -> None:
        """Say that this hop's loop turns, and how far it has read."""
        self._ask(self._client.hset, self._space.pulse(self._hop.service), mapping={"at": at, **behind})

    def pulse(self) -> int | None:
        """When this hop's loop last said that it turns, in milliseconds; None if it never did."""
        at: Any = self._ask(self._client.hget, self._space.pulse(self._hop.service), "at")
        return int(at) if at else None

    def lags(self) -> dict[str, Lag]:
        """How far this hop is behind each stream that it reads, as its last pulse told where it is."""
        names = self._hop.reads
        told: Any = self._ask(self._client.hmget, self._space.pulse(self._hop.service), names)
        cursors = [cursor.decode() if cursor else BEGINNING for cursor in told]
        keys = [self._space.stream(name) for name in names]
        # Read-only, so that whoever may only look may ask it too.
        answer: Any = self._ask(self._client.eval_ro, _LAGS, len(keys), *keys, *cursors)
        waiting = zip(names, answer, strict=True)
        return {name: Lag(count, int(first.partition(b"-")[0] or 0)) for name, (count, first) in waiting}

    def letters(self) -> int:
        """How many dead letters are kept."""
        count: Any = self._ask(self._client.xlen, self._space.stream(DEAD))
        return int(count)

    def _runs(self, keys: _Keys, outputs: Sequence[Output]) -> list[Any]:
        """The outputs as the scripts take them."""
        runs = [(stream, [one.body for one in run]) for stream, run in groupby(outputs, lambda one: one.stream)]
        argv: list[Any] = [len(runs)]
        for stream, bodies in runs:
            argv += [keys.index(self._space.stream(stream)), MOST_LETTERS.get(stream, ""), len(bodies), *bodies]
        return argv

    def _run(self, script: Any, keys: Sequence[str], argv: Sequence[Any]) -> Any:  # noqa: ANN401  # redis-py's own types
        return self._ask(script, keys=keys, args=argv)

    def _ask(self, call: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as above
        try:
            return call(*args, **kwargs)
        except _AWAY as error:
            raise Away(f"Redis does not serve {self._hop.service}: {error}") from error
        except redis.ResponseError as error:
            if not str(error).startswith(_WILL_PASS):
                raise
            raise Away(f"Redis does not serve {self._hop.service}: {error}") from error


class _Packer:
    """A command as it is sent: by hiredis, unless one of its values is long.

    hiredis would copy each three times, and a state may be as large as a model: that was the most memory its service
    ever took. redis-py's own copies what is short again with every value that follows.
    """

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        self._encode, self._short = encode, HiredisRespSerializer()

    def pack(self, *args: Any) -> list[bytes]:  # noqa: ANN401  # redis-py's own types
        """The pieces of the command; a long value is one of them."""
        if not any(isinstance(value, bytes) and len(value) > _PIECE for value in args):
            pieces: list[bytes] = self._short.pack(*args)
            return pieces
        words = [*self._encode(args[0]).split(), *map(self._encode, args[1:])]
        found, short = list[bytes](), [b"*%d\r\n" % len(words)]
        for word in words:
            short.append(b"$%d\r\n" % len(word))
            if len(word) > _PIECE:
                found += [b"".join(short), word]
                short = [b"\r\n"]
            else:
                short += [word, b"\r\n"]
        return [*found, b"".join(short)]


class _Keys:
    """The keys of one script call, each once; a key's index counts from 1 as Lua does."""

    def __init__(self, *first: str) -> None:
        self.found = [*first]

    def index(self, key: str) -> int:
        if key not in self.found:
            self.found.append(key)
        return self.found.index(key) + 1


def _refuse(answer: Any) -> None:  # noqa: ANN401  # a script's answer
    match answer[0]:
        case b"fenced":
            epoch, version = (part.decode() or "none" for part in answer[1:])
            raise Fenced(f"the state was replaced by epoch {epoch}, version {version}")
        case b"full":
            raise Full(f"{answer[1].decode()} takes no more entries: its readers are behind")
        case b"type":
            raise Away(f"{answer[1].decode()} is a {answer[2].decode()}, wanted a stream: somebody else uses our keys")


def _bounded(entries: Iterable[Entry]) -> list[Entry]:
    total, kept = 0, list[Entry]()
    for entry in entries:
        total += len(entry.body)
        if kept and total > MOST_BATCH_BYTES:
            break
        kept.append(entry)
    return kept
