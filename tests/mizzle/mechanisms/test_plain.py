"""Without noise nothing is claimed, nothing charged and nothing changed."""

from mizzle.mechanisms.plain import Plain


def test_nothing_is_claimed_and_nothing_charged() -> None:
    assert not Plain.claims
    assert (Plain().sigma(64, 2**21), Plain().price(64, 64, 2**21)) == (0, 0)


def test_there_is_no_noise() -> None:
    assert Plain().noise(bytes(32), 0, 5).tolist() == [0] * 5
