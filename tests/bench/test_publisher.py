"""Which receipts the publisher believes."""

from bench.publisher import counted
from mizzle.envelope import Key, Purpose, seal
from mizzle.messages import Abandoned, Counted, Outcome, Receipt, Refused

OURS, STRANGERS = Key(bytes(32)), Key(bytes([1]) * 32)
ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
SENT = {ONE: "device-0", TWO: "device-1"}
IN_IT = Counted(release=1, window=1, weight=64)


def receipt(update: bytes, device: str, outcome: Outcome = IN_IT, key: Key = OURS) -> bytes:
    said = Receipt(federation="bench", device=device, update=update, window=1, outcome=outcome, at=1)
    return seal(said, Purpose.RECEIPT, key, epoch=0, counter=1)


def believed(*receipts: tuple[str, bytes]) -> int:
    told: dict[str, list[bytes]] = {}
    for device, body in receipts:
        told.setdefault(device, []).append(body)
    return counted(SENT, told, OURS.public_key)


def test_every_update_with_an_authentic_receipt_is_counted_once() -> None:
    one, two = ("device-0", receipt(ONE, "device-0")), ("device-1", receipt(TWO, "device-1"))
    assert believed(one, two) == 2
    assert believed(one, one) == 1


def test_what_another_key_signed_is_no_receipt() -> None:
    assert believed(("device-0", receipt(ONE, "device-0", key=STRANGERS))) == 0


def test_a_receipt_that_another_device_got_or_of_another_update_counts_nothing() -> None:
    assert believed(("device-1", receipt(ONE, "device-0"))) == 0
    assert believed(("device-0", receipt(ONE, "device-1"))) == 0
    assert believed(("device-0", receipt(bytes(32), "device-0"))) == 0


def test_an_update_that_was_refused_or_abandoned_is_not_counted() -> None:
    assert believed(("device-0", receipt(ONE, "device-0", Refused(reason="norm")))) == 0
    assert believed(("device-0", receipt(ONE, "device-0", Abandoned(window=1)))) == 0
