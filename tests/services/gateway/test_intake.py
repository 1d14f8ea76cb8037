"""What comes from devices is taken in batches."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from mizzle.transport.bus import AckToken, Arrived
from services.gateway.intake import Inbox

PATIENCE_S = 60.0


def came(number: int) -> Arrived:
    return Arrived("mz/1/barn/up/7/pump-1/update", b"%d" % number, token=AckToken(1, number))


def test_a_batch_waits_until_it_is_full() -> None:
    inbox = Inbox(most=3, linger_s=PATIENCE_S)
    with ThreadPoolExecutor(1) as reader:
        inbox.listen(came(0))
        taken = reader.submit(inbox.next, PATIENCE_S)
        with pytest.raises(TimeoutError):
            taken.result(0.1)
        for number in (1, 2, 3):
            inbox.listen(came(number))
        assert taken.result(PATIENCE_S) == [came(0), came(1), came(2)]


def test_a_batch_that_does_not_become_full_is_taken_all_the_same() -> None:
    inbox = Inbox(most=3, linger_s=0.01)
    inbox.listen(came(0))
    inbox.listen(came(1))
    assert inbox.next(PATIENCE_S) == [came(0), came(1)]
    assert inbox.next(0.0) == []
