"""What a loop relies on in a log, held by the one in Redis and by the one in memory alike."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from mizzle.errors import Fenced
from mizzle.topics import Keyspace
from services.pipeline import hop
from services.runtime.log import Log
from services.runtime.redis_log import MOST_BATCH_BYTES, Entry, Full, Output, Place, RedisLog, connected
from tests.simulation.memory_log import MemoryLog, MemoryStore

Logs = Callable[[str], Log]
BEFORE = {"combined": "0-0", "released": "0-0"}
MOST = 4


@pytest.fixture(params=["redis", "memory"])
def logs(request: pytest.FixtureRequest) -> Iterator[Logs]:
    """Makes a service's log; all that a test makes are of one store, which is empty at first."""
    if request.param == "memory":
        store = MemoryStore(count(1).__next__)
        yield lambda service: MemoryLog(store, hop(service), MOST)
    else:
        client = connected(request.getfixturevalue("redis_url"))
        yield lambda service: RedisLog(client, Keyspace("ledger-1", "barn"), hop(service), MOST)


def say(logs: Logs, stream: str, *bodies: bytes) -> list[str]:
    """Write on a stream that the releaser reads; the ids of all that it holds."""
    logs("gateway").append([Output(stream, body) for body in bodies])
    return [entry.id for entry in logs("releaser").read(BEFORE, 100, 1) if entry.stream == stream]


def held(logs: Logs, stream: str, reader: str) -> list[bytes]:
    """What stands on a stream, as one of its readers finds it from the beginning."""
    cursors = dict.fromkeys(hop(reader).reads, "0-0")
    return [entry.body for entry in logs(reader).read(cursors, 100, 1) if entry.stream == stream]


def test_a_place_that_nobody_held_begins_at_the_beginning(logs: Logs) -> None:
    assert (logs("releaser").holder(), logs("releaser").fence()) == (0, (0, 0))
    assert logs("releaser").take(1) == Place(epoch=1, version=1, state=None, cursors=BEFORE)
    assert (logs("releaser").holder(), logs("releaser").fence()) == (1, (1, 1))


def test_what_was_committed_is_there_for_the_next_holder(logs: Logs) -> None:
    ours = logs("releaser")
    cursors = {"combined": "5-1", "released": "0-0"}
    place = ours.commit(ours.take(1), b"state", cursors)
    assert place == Place(1, 2, b"state", cursors)
    assert logs("releaser").fence() == (1, 2)
    assert logs("releaser").take(2) == Place(2, 3, b"state", cursors)


def test_a_commit_without_a_state_keeps_the_one_there_is(logs: Logs) -> None:
    ours = logs("releaser")
    place = ours.commit(ours.take(1), b"state", BEFORE)
    ours.commit(place, None, {**BEFORE, "combined": "7-0"})
    assert logs("releaser").take(2) == Place(2, 4, b"state", {**BEFORE, "combined": "7-0"})


def test_a_place_is_not_taken_back_by_an_older_epoch(logs: Logs) -> None:
    logs("releaser").take(2)
    with pytest.raises(Fenced, match="held by epoch 2, ours is 1"):
        logs("releaser").take(1)
    assert logs("releaser").take(2).version == 2


def test_a_commit_of_an_older_epoch_or_version_is_fenced_and_leaves_no_trace(logs: Logs) -> None:
    ours = logs("releaser")
    old = ours.take(1)
    newer = ours.commit(old, b"new", BEFORE)
    with pytest.raises(Fenced, match="epoch 1, version 2"):
        ours.commit(old, b"late", {**BEFORE, "combined": "9-9"}, [Output("booked", b"x")])
    logs("releaser").take(2)
    with pytest.raises(Fenced, match="epoch 2, version 3"):
        ours.commit(newer, b"late", {**BEFORE, "combined": "9-9"}, [Output("booked", b"x")])
    assert logs("releaser").take(3) == Place(3, 4, b"new", BEFORE)
    assert held(logs, "booked", "privacy_accountant") == []


def test_a_commit_before_anybody_took_the_place_is_fenced(logs: Logs) -> None:
    with pytest.raises(Fenced, match="epoch none"):
        logs("releaser").commit(Place(1, 1), b"state", BEFORE)


def test_a_commit_writes_all_of_its_outputs_in_order(logs: Logs) -> None:
    ours = logs("releaser")
    ours.commit(ours.take(1), b"", BEFORE, [Output("booked", b"1"), Output("dead", b"2"), Output("booked", b"3")])
    assert held(logs, "booked", "privacy_accountant") == [b"1", b"3"]


def test_a_full_stream_takes_nothing_and_the_commit_leaves_no_trace(logs: Logs) -> None:
    ours = logs("releaser")
    place = ours.take(1)
    place = ours.commit(place, b"before", BEFORE, [Output("booked", b"x")] * MOST)
    with pytest.raises(Full, match="booked takes no more"):
        ours.commit(place, b"after", {**BEFORE, "combined": "9-9"}, [Output("seen", b"y"), Output("booked", b"z")])
    with pytest.raises(Full):
        ours.append([Output("seen", b"y"), Output("booked", b"z")])
    assert held(logs, "seen", "selector") == []
    assert logs("releaser").take(2) == Place(2, 3, b"before", BEFORE)


def test_what_was_said_is_read_in_order_after_a_cursor_from_every_stream(logs: Logs) -> None:
    combined, released = say(logs, "combined", b"a", b"b"), say(logs, "released", b"c")
    ours = logs("releaser")
    everything = [
        Entry("combined", combined[0], b"a"),
        Entry("combined", combined[1], b"b"),
        Entry("released", released[0], b"c"),
    ]
    assert ours.read(BEFORE, 10, 1) == everything
    assert ours.read(BEFORE, 1, 1) == [everything[0], everything[2]]
    assert ours.read({"combined": combined[0], "released": released[0]}, 10, 1) == [everything[1]]
    assert ours.read({"combined": combined[1], "released": released[0]}, 10, 1) == []


def test_a_read_takes_at_most_4_mib_and_one_entry_at_least(logs: Logs) -> None:
    say(logs, "combined", bytes(MOST_BATCH_BYTES + 1), b"small")
    assert [len(entry.body) for entry in logs("releaser").read(BEFORE, 10, 1)] == [MOST_BATCH_BYTES + 1]


@pytest.mark.parametrize(("releaser", "gateway", "left"), [(2, None, 3), (0, 2, 3), (1, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_a_stream_is_trimmed_below_the_smallest_cursor_of_its_readers(
    logs: Logs, releaser: int, gateway: int | None, left: int
) -> None:
    entries = say(logs, "released", b"a", b"b", b"c")
    for service, number in (("releaser", releaser), ("gateway", gateway)):
        if number is not None:
            ours = logs(service)
            place = ours.take(1)
            ours.commit(place, None, {**place.cursors, "released": entries[number]})
    assert held(logs, "released", "releaser") == [b"a", b"b", b"c"][3 - left :]


def test_the_tries_of_an_entry_are_counted_whoever_tries(logs: Logs) -> None:
    entry, other = Entry("combined", "1-1", b"x"), Entry("combined", "1-2", b"x")
    assert [logs("releaser").tries(one) for one in (entry, entry, other)] == [1, 2, 1]


def test_a_dead_letter_says_what_it_was_and_why(logs: Logs) -> None:
    assert logs("releaser").dead(Entry("combined", "1-1", b"x"), "releaser", "poison") == Output(
        "dead",
        b"\x85\xa6stream\xa8combined\xa5entry\xa31-1\xa7service\xa8releaser\xa3why\xa6poison\xa4body\xc4\x01x",
    )


def test_a_pulse_changes_no_place(logs: Logs) -> None:
    logs("releaser").take(1)
    logs("releaser").beat(5, BEFORE)
    assert logs("releaser").take(2) == Place(2, 2, None, BEFORE)
