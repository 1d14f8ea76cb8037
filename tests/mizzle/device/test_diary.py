"""What a person reads of what a device does."""

import pytest

from mizzle.device.diary import line
from mizzle.device.effects import Clear, Keep, Note, Remember, Send
from mizzle.envelope import Key, Purpose, seal
from mizzle.messages import Abandoned, BlobRef, Counted, Identity, Outcome, Receipt, Refused

KEY = Key(bytes(32))


def receipt(outcome: Outcome) -> Clear:
    told = Receipt(federation="watch-har", device="pump-7", update=bytes(32), window=4, outcome=outcome, at=1)
    return Clear(bytes(32), seal(told, Purpose.RECEIPT, KEY, epoch=0, counter=1))


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Counted(release=5, window=6, weight=45), "its update for window 4 is counted in release 5"),
        (Refused(reason="late"), "its update for window 4 is refused: late"),
        (Refused(reason="norm", why="20 × the bound"), "its update for window 4 is refused: norm, 20 × the bound"),
        (Abandoned(window=4), "its update for window 4 is abandoned: too few came to window 4"),
    ],
)
def test_a_receipt_is_told_by_its_outcome(outcome: Outcome, said: str) -> None:
    assert line(receipt(outcome)) == said


def test_who_belongs_says_where() -> None:
    identity = Identity(
        federation="watch-har",
        device="pump-7",
        public_key=KEY.public_key,
        keys=(),
        plan=BlobRef(digest=bytes(32), size=1),
        epoch=0,
    )
    assert line(Remember(seal(identity, Purpose.IDENTITY, KEY, epoch=0, counter=1))) == "belongs to watch-har"


def test_an_update_that_is_kept_says_for_how_long() -> None:
    kept = Keep(bytes(32), window=3, sealed=b"", payload=bytes(1500))
    assert line(kept) == "keeps its update for window 3 (1,500 bytes) until a receipt has come"


def test_a_note_is_told_as_it_is_and_what_is_of_no_interest_is_not_told() -> None:
    assert (line(Note("the line is down")), line(Send(bytes(32)))) == ("the line is down", None)
