"""How updates leave: in order, a few parts at a time, whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mizzle import parts
from mizzle.device.outbox import Outbox
from mizzle.device.sender import MOST_PARTS, Sender
from mizzle.envelope import Key, Purpose, seal, unseal
from mizzle.messages import Decline
from mizzle.transport.bus import Sent

LONG, SHORT = parts.CHUNK * (MOST_PARTS + 2), 10


class Sending:
    """A sender, and what it has published so far."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox, self.published = outbox, list[bytes]()
        self.sender = Sender("barn", "pump-7", outbox, self._publish)

    def _publish(self, _topic: str, body: bytes) -> int:
        self.published.append(body)
        return len(self.published)

    def keep(self, window: int, size: int) -> tuple[bytes, list[bytes]]:
        """An update in the outbox, and its parts."""
        decline = Decline(federation="barn", device="pump-7", window=window, reason="any")
        sealed = seal(decline, Purpose.UPDATE, Key(bytes(32)), 1, window)
        payload = bytes([window]) * size
        update = unseal(sealed).id
        self.outbox.keep(update, window, sealed, payload)
        return update, list(parts.split(sealed, payload))

    def taken(self, number: int, reason: int = 0) -> None:
        self.sender.sent(Sent("mz/1/barn/up/1/pump-7/update", number, reason))


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Sending]:
    with Outbox(tmp_path / "outbox.db") as outbox:
        yield Sending(outbox)


def test_only_so_many_parts_are_out_at_a_time_and_each_that_is_taken_makes_room(sending: Sending) -> None:
    update, bodies = sending.keep(1, LONG)
    sending.sender.send(update)
    assert sending.published == bodies[:MOST_PARTS]
    sending.taken(1)
    assert sending.published == bodies[: MOST_PARTS + 1]
    sending.taken(1)
    assert sending.published == bodies[: MOST_PARTS + 1]
    sending.taken(2)
    assert sending.published == bodies


def test_updates_go_one_after_the_other(sending: Sending) -> None:
    (first, long), (second, short) = sending.keep(1, LONG), sending.keep(2, SHORT)
    sending.sender.send(first)
    sending.sender.send(second)
    for number in range(1, MOST_PARTS):
        sending.taken(number)
    assert (sending.published, sending.outbox.sends()) == ([*long, *short], 2)


def test_an_update_that_is_on_its_way_is_not_begun_again(sending: Sending) -> None:
    (first, long), (second, short) = sending.keep(1, LONG), sending.keep(2, SHORT)
    for update in (first, second, first, second):
        sending.sender.send(update)
    for number in range(1, MOST_PARTS):
        sending.taken(number)
    assert sending.published == [*long, *short]
    sending.sender.send(second)
    assert sending.published == [*long, *short, *short]


def test_when_a_part_is_refused_the_rest_waits_and_the_next_update_has_its_turn(sending: Sending) -> None:
    (first, long), (second, short) = sending.keep(1, LONG), sending.keep(2, SHORT)
    sending.sender.send(first)
    sending.sender.send(second)
    sending.taken(1, reason=0x97)
    assert sending.published == [*long[:MOST_PARTS], *short]


def test_what_a_lost_line_had_before_it_is_forgotten_until_it_is_asked_for(sending: Sending) -> None:
    (first, long), (second, short), (third, _) = (sending.keep(*one) for one in ((1, LONG), (2, SHORT), (3, SHORT)))
    for update in (first, second, third):
        sending.sender.send(update)
    sending.sender.forget()
    for number in range(1, MOST_PARTS + 1):
        sending.taken(number)
    assert sending.published == long[:MOST_PARTS]
    sending.sender.send(second)
    assert sending.published == [*long[:MOST_PARTS], *short]


def test_an_update_that_was_cleared_meanwhile_is_not_sent(sending: Sending) -> None:
    (first, long), (second, _) = sending.keep(1, LONG), sending.keep(2, SHORT)
    sending.sender.send(first)
    sending.sender.send(second)
    sending.outbox.clear(second, b"receipt")
    for number in range(1, MOST_PARTS):
        sending.taken(number)
    assert (sending.published, sending.outbox.sends()) == (long, 1)


def test_on_a_full_disk_it_sends_without_counting(sending: Sending) -> None:
    update, bodies = sending.keep(1, SHORT)
    store = sending.outbox._store
    store.execute(f"PRAGMA max_page_count = {store.execute('PRAGMA page_count').fetchone()[0]}")
    while len(sending.published) == sending.outbox.sends() < 10_000:
        sending.sender.send(update)
        sending.taken(len(sending.published))
    assert set(sending.published) == set(bodies)
    assert len(sending.published) == sending.outbox.sends() + 1


# Parts and probes


def test_the_wanted_parts_are_sent_and_no_others(sending: Sending) -> None:
    update, bodies = sending.keep(1, LONG)
    sending.sender.send(update, 0b10_0000_0110)
    assert sending.published == [bodies[1], bodies[2], bodies[9]]
    assert sending.outbox.waiting()[0].sent


def test_a_probe_is_the_sealed_header_alone_and_the_same_bytes_each_time(sending: Sending) -> None:
    update, bodies = sending.keep(1, SHORT)
    assert (sending.sender.ask(update), sending.sender.ask(update)) == (True, True)
    assert sending.published == [bodies[0][:-SHORT]] * 2
    assert (sending.outbox.sends(), sending.outbox.waiting()[0].sent) == (0, False)


def test_what_is_on_its_way_is_not_asked_for(sending: Sending) -> None:
    (first, long), (second, _) = sending.keep(1, LONG), sending.keep(2, SHORT)
    sending.sender.send(first)
    sending.sender.send(second)
    assert (sending.sender.ask(first), sending.sender.ask(second)) == (False, False)
    for number in range(1, MOST_PARTS + 2):
        sending.taken(number)
    assert not sending.sender.ask(first)  # handed over, and not taken yet
    for number in range(MOST_PARTS + 2, MOST_PARTS + 4):
        sending.taken(number)
    assert sending.sender.ask(first)
    assert len(sending.published) == len(long) + 2


def test_on_a_new_line_one_part_is_out_at_a_time_until_an_update_is_through(sending: Sending) -> None:
    (first, long), (second, longer) = sending.keep(1, LONG), sending.keep(2, LONG)
    sending.sender.forget()
    sending.sender.send(first)
    sending.sender.send(second)
    for number in range(1, len(long)):
        assert sending.published == long[:number]
        sending.taken(number)
    sending.taken(len(long))
    assert sending.published == [*long, *longer[:MOST_PARTS]]


def test_parts_that_are_wanted_while_others_are_on_their_way_follow_them(sending: Sending) -> None:
    update, bodies = sending.keep(1, LONG)
    sending.sender.forget()
    sending.sender.send(update, 0b11)
    sending.sender.send(update, 0b100)
    sending.taken(1)
    sending.taken(2)
    assert sending.published == bodies[:3]
