"""Streams and places in a real Redis: what a commit writes, what it refuses, and what it leaves when it does."""

import threading
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest
import redis

from mizzle.errors import Away, Fenced, Misconfigured
from mizzle.topics import Keyspace
from services.local.processes import Processes
from services.local.store import start_store
from services.local.waiting import free_port
from services.pipeline import hop
from services.runtime.redis_log import MOST_BATCH_BYTES, Entry, Full, Output, Place, RedisLog, connected

SPACE = Keyspace("ledger-1", "barn")
BEFORE = {"combined": "0-0", "released": "0-0"}


def log(url: str, service: str = "releaser", *, most_waiting: int = 100, space: Keyspace = SPACE) -> RedisLog:
    return RedisLog(connected(url), space, hop(service), most_waiting)


def said(redis_url: str, stream: str, *bodies: bytes) -> list[str]:
    """Write on a stream; the ids of its entries."""
    log(redis_url, "aggregator").append([Output(stream, body) for body in bodies])
    return ids(redis_url, stream)


def ids(redis_url: str, stream: str) -> list[str]:
    return [entry.decode() for entry, _ in entries_of(redis_url, stream)]


def bodies(redis_url: str, stream: str) -> list[bytes]:
    return [fields[b"m"] for _, fields in entries_of(redis_url, stream)]


def entries_of(redis_url: str, stream: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: Any = connected(redis_url).xrange(SPACE.stream(stream))
    return list(found)


def everything(redis_url: str) -> dict[bytes, object]:
    client: Any = connected(redis_url)
    return {key: client.dump(key) for key in sorted(client.keys())}


def test_a_place_that_nobody_held_begins_at_the_beginning(redis_url: str) -> None:
    assert log(redis_url).take(1) == Place(epoch=1, version=1, state=None, cursors=BEFORE)


def test_what_was_committed_is_there_for_the_next_holder(redis_url: str) -> None:
    ours = log(redis_url)
    place = ours.commit(ours.take(1), b"state", {"combined": "5-1", "released": "0-0"})
    assert place == Place(1, 2, b"state", {"combined": "5-1", "released": "0-0"})
    assert log(redis_url).take(2) == Place(2, 3, b"state", {"combined": "5-1", "released": "0-0"})


def test_a_state_as_large_as_a_model_is_not_copied_on_its_way(redis_url: str) -> None:
    ours, state = log(redis_url), bytes(range(256)) * 2**15
    place = ours.commit(ours.take(1), b"small", BEFORE)
    tracemalloc.start()
    place = ours.commit(place, state, BEFORE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(state) / 8
    assert log(redis_url).take(2).state == place.state == state


def test_a_commit_writes_state_cursors_and_outputs_at_once(redis_url: str) -> None:
    ours = log(redis_url)
    ours.commit(
        ours.take(1), b"state", BEFORE, [Output("booked", b"one"), Output("dead", b"two"), Output("booked", b"3")]
    )
    assert bodies(redis_url, "booked") == [b"one", b"3"]
    assert bodies(redis_url, "dead") == [b"two"]


@pytest.mark.parametrize("state", [b"", b"s" * 70_000])
def test_outputs_of_any_length_are_what_they_were_and_in_their_order(redis_url: str, state: bytes) -> None:
    """Short ones are sent together, and long ones as they lie; 65,536 bytes are the most that count as short."""
    sizes = [0, 1, 100_000, 65_536, 65_537, 3, 3, 200_000, 5]
    outputs = [Output(("booked", "refused")[at % 3 // 2], b"%d" % at * size) for at, size in enumerate(sizes)]
    ours = log(redis_url)
    place = ours.commit(ours.take(1), state, {"combined": "5-1", "released": "6-1"}, outputs)
    ours.append(outputs)
    for stream in ("booked", "refused"):
        assert bodies(redis_url, stream) == 2 * [one.body for one in outputs if one.stream == stream]
    assert log(redis_url).take(2) == Place(2, 3, state, place.cursors)


def test_a_commit_that_cannot_write_one_output_writes_nothing(redis_url: str) -> None:
    ours = log(redis_url)
    place = ours.commit(ours.take(1), b"before", BEFORE)
    connected(redis_url).set(SPACE.stream("dead"), "no stream")
    here = everything(redis_url)
    with pytest.raises(Away, match="stream:dead is a string, wanted a stream"):
        ours.commit(
            place, b"after", {"combined": "9-9", "released": "9-9"}, [Output("booked", b"x"), Output("dead", b"y")]
        )
    assert everything(redis_url) == here


def test_a_full_stream_takes_nothing_and_the_commit_leaves_no_trace(redis_url: str) -> None:
    ours = log(redis_url, most_waiting=3)
    said(redis_url, "booked", b"1", b"2", b"3")
    place = ours.take(1)
    here = everything(redis_url)
    with pytest.raises(Full, match="stream:booked takes no more"):
        ours.commit(place, b"after", BEFORE, [Output("dead", b"x"), Output("booked", b"y")])
    assert everything(redis_url) == here
    connected(redis_url).xtrim(SPACE.stream("booked"), maxlen=2, approximate=False)
    ours.commit(place, b"after", BEFORE, [Output("booked", b"y")])
    assert bodies(redis_url, "booked") == [b"2", b"3", b"y"]


def test_what_comes_from_outside_is_appended_to_all_streams_or_to_none(redis_url: str) -> None:
    gate = log(redis_url, "gateway", most_waiting=1)
    gate.append([Output("received", b"1")])
    with pytest.raises(Full):
        gate.append([Output("seen", b"2"), Output("received", b"3")])
    assert (bodies(redis_url, "received"), bodies(redis_url, "seen")) == ([b"1"], [])


def test_a_commit_in_a_version_that_was_replaced_is_fenced(redis_url: str) -> None:
    ours = log(redis_url)
    old = ours.take(1)
    ours.commit(old, b"new", BEFORE)
    here = everything(redis_url)
    with pytest.raises(Fenced, match="epoch 1, version 2"):
        ours.commit(old, b"late", BEFORE, [Output("booked", b"x")])
    assert everything(redis_url) == here


def test_a_commit_of_an_older_epoch_is_fenced(redis_url: str) -> None:
    first, second = log(redis_url), log(redis_url)
    old = first.take(1)
    second.take(2)
    with pytest.raises(Fenced, match="epoch 2, version 2"):
        first.commit(old, b"late", BEFORE, [Output("booked", b"x")])
    assert (first.holder(), first.fence(), bodies(redis_url, "booked")) == (2, (2, 2), [])


def test_a_place_is_not_taken_back_by_an_older_epoch(redis_url: str) -> None:
    log(redis_url).take(2)
    with pytest.raises(Fenced, match="held by epoch 2, ours is 1"):
        log(redis_url).take(1)


def test_a_redis_that_has_forgotten_fences_who_remembers(redis_url: str) -> None:
    ours = log(redis_url)
    place = ours.take(1)
    connected(redis_url).flushall()
    with pytest.raises(Fenced, match="epoch none, version none"):
        ours.commit(place, b"state", BEFORE)
    assert (ours.holder(), ours.fence()) == (0, (0, 0))


def test_a_redis_that_has_forgotten_fences_by_the_epoch_alone_where_the_versions_are_the_same(redis_url: str) -> None:
    """Versions begin again with Redis, so an old holder's may be its successor's; epochs never do."""
    first, second = log(redis_url), log(redis_url)
    old = first.take(1)
    connected(redis_url).flushall()
    assert second.take(2).version == old.version
    with pytest.raises(Fenced, match="epoch 2, version 1"):
        first.commit(old, b"late", BEFORE, [Output("booked", b"x")])
    assert bodies(redis_url, "booked") == []


def test_what_was_said_is_read_once_in_order_from_every_stream(redis_url: str) -> None:
    combined, released = said(redis_url, "combined", b"a", b"b"), said(redis_url, "released", b"c")
    found = log(redis_url).read(BEFORE, 10, 1)
    assert found == [
        Entry("combined", combined[0], b"a"),
        Entry("combined", combined[1], b"b"),
        Entry("released", released[0], b"c"),
    ]
    assert log(redis_url).read({"combined": combined[0], "released": released[0]}, 10, 1) == found[1:2]
    assert log(redis_url).read({"combined": combined[1], "released": released[0]}, 10, 1) == []


def test_a_read_takes_at_most_so_many_of_each_stream(redis_url: str) -> None:
    said(redis_url, "combined", b"a", b"b", b"c")
    assert [entry.body for entry in log(redis_url).read(BEFORE, 2, 1)] == [b"a", b"b"]


def test_a_read_takes_at_most_4_mib_and_one_entry_at_least(redis_url: str) -> None:
    large = bytes(MOST_BATCH_BYTES // 2)
    first, second, third = said(redis_url, "combined", large + b"!", large, b"small")
    here = log(redis_url)
    assert [entry.id for entry in here.read(BEFORE, 10, 1)] == [first]
    assert [entry.id for entry in here.read({**BEFORE, "combined": first}, 10, 1)] == [second, third]
    (huge,) = said(redis_url, "released", bytes(MOST_BATCH_BYTES + 1))
    assert [entry.id for entry in here.read({"combined": third, "released": "0-0"}, 10, 1)] == [huge]


def test_a_read_waits_for_the_first_entry(redis_url: str) -> None:
    writer = threading.Timer(0.2, said, (redis_url, "combined", b"late"))
    writer.start()
    assert [entry.body for entry in log(redis_url).read(BEFORE, 10, 4000)] == [b"late"]
    writer.join()


@pytest.mark.parametrize(
    ("releaser", "gateway", "left"),
    [(None, 2, 3), (2, None, 3), (0, 2, 3), (1, 2, 2), (2, 1, 2), (2, 2, 1)],
)
def test_a_stream_is_trimmed_below_the_smallest_cursor_of_its_readers(
    redis_url: str, releaser: int | None, gateway: int | None, left: int
) -> None:
    """Both read `released`; None is a reader that has not begun, which must find everything."""
    entries = said(redis_url, "released", b"a", b"b", b"c")
    for service, place in (("releaser", releaser), ("gateway", gateway)):
        if place is not None:
            move(redis_url, service, entries[place])
    assert ids(redis_url, "released") == entries[3 - left :]


def move(redis_url: str, service: str, entry: str) -> None:
    ours = log(redis_url, service)
    place = ours.take(1)
    cursors: Mapping[str, str] = {**place.cursors, "released": entry}
    ours.commit(place, None, cursors)


def test_cursors_are_compared_as_numbers(redis_url: str) -> None:
    client = connected(redis_url)
    for entry in ("9-1", "10-2", "10-10"):
        client.xadd(SPACE.stream("released"), {"m": b"x"}, id=entry)
    move(redis_url, "releaser", "10-10")
    move(redis_url, "gateway", "9-1")
    assert ids(redis_url, "released") == ["9-1", "10-2", "10-10"]
    move(redis_url, "gateway", "10-2")
    assert ids(redis_url, "released") == ["10-2", "10-10"]


def test_another_ledgers_keys_are_other_keys(redis_url: str) -> None:
    elsewhere = log(redis_url, space=Keyspace("ledger-2", "barn"))
    elsewhere.take(7)
    said(redis_url, "combined", b"ours")
    assert elsewhere.read(BEFORE, 10, 1) == []
    assert log(redis_url).take(1).epoch == 1


def test_the_tries_of_an_entry_outlive_its_reader(redis_url: str) -> None:
    entry, other = Entry("combined", "1-1", b"x"), Entry("combined", "1-2", b"x")
    assert [log(redis_url).tries(entry), log(redis_url).tries(entry), log(redis_url).tries(other)] == [1, 2, 1]


def test_a_pulse_is_there_for_whoever_asks(redis_url: str) -> None:
    assert log(redis_url).pulse() is None
    log(redis_url).beat(1_800_000_000_000, BEFORE)
    assert log(redis_url).pulse() == 1_800_000_000_000


def test_a_redis_that_nobody_runs_is_away() -> None:
    nowhere = log(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(Away, match="Redis does not serve releaser"):
        nowhere.take(1)
    with pytest.raises(Away):
        nowhere.read(BEFORE, 1, 1)


def test_a_redis_without_memory_is_away_until_it_has_some(children: Processes) -> None:
    url = start_store(children, "no")
    ours, client = log(url), connected(url)
    place = ours.take(1)
    client.config_set("maxmemory", "1")
    here = everything(url)
    with pytest.raises(Away, match="maxmemory"):
        ours.commit(place, b"state", BEFORE, [Output("booked", b"x")])
    with pytest.raises(Away, match="maxmemory"):
        ours.append([Output("received", b"x")])
    client.config_set("maxmemory", "0")
    assert everything(url) == here
    assert ours.commit(place, b"state", BEFORE, [Output("booked", b"x")]).version == place.version + 1


def test_a_redis_that_wants_replicas_is_away(children: Processes) -> None:
    url = start_store(children, "no")
    connected(url).config_set("min-replicas-to-write", "1")
    with pytest.raises(Away, match="NOREPLICAS"):
        log(url).take(1)


def test_a_mistake_of_ours_is_not_taken_for_a_redis_that_is_away(redis_url: str) -> None:
    connected(redis_url).set(SPACE.place("releaser"), "no hash")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        log(redis_url).take(1)


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(Misconfigured, match="redis://HOST:PORT/DB"):
        connected("http://127.0.0.1")
