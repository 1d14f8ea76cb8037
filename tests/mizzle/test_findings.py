"""What a doctor judges of what it was shown."""

import pytest

from mizzle.findings import Finding, are_well, clock, conclusion, denied, private, signed_later

DAY = 24 * 3_600_000


@pytest.mark.parametrize("skew", [0, 10_000, -10_000])
def test_a_clock_that_is_seconds_off_is_well(skew: int) -> None:
    assert clock(DAY + skew, DAY, "the gateway's").is_well


@pytest.mark.parametrize(
    ("skew", "what"),
    [
        (DAY, "it is 1.0 days ahead of the gateway's; windows end by the server's clock"),
        (-DAY, "it is 1.0 days behind the gateway's; windows end by the server's clock"),
        (10_001, "it is 10 s ahead of the gateway's; windows end by the server's clock"),
        (-90 * 60_000, "it is 1.5 hours behind the gateway's; windows end by the server's clock"),
    ],
)
def test_a_clock_that_is_further_off_is_told_by_how_much(skew: int, what: str) -> None:
    assert clock(2 * DAY + skew, 2 * DAY, "the gateway's") == Finding("clock", what, "sudo timedatectl set-ntp true")


def test_a_clock_cannot_be_behind_what_was_signed() -> None:
    """Without a gateway a receipt is one-sided: it may be old, and it cannot be of tomorrow."""
    assert signed_later(2 * DAY, DAY).is_well
    assert signed_later(DAY, DAY + 10_000).is_well
    assert not signed_later(DAY, 2 * DAY).is_well


@pytest.mark.parametrize(
    ("mode", "is_well"), [(0o100600, True), (0o100400, True), (0o100644, False), (0o100620, False)]
)
def test_a_file_is_private_if_only_its_owner_may_do_anything_with_it(mode: int, *, is_well: bool) -> None:
    found = private("key", "/home/key", mode)
    assert (found.is_well, found.next) == (is_well, "" if is_well else "chmod 600 /home/key")


@pytest.mark.parametrize(("reason", "is_well"), [(0x87, True), (0x00, False), (0x10, False), (None, False)])
def test_rules_behave_only_if_another_name_is_refused(reason: int | None, *, is_well: bool) -> None:
    assert denied(reason, "somebody", "mosquitto_pub").is_well is is_well


def test_the_conclusion_begins_with_the_first_thing_to_do() -> None:
    well, ill = Finding("key", "it is there"), Finding("acl", "it is open", "mosquitto_pub")
    assert (are_well([well]), conclusion([well])) == (True, "all 1 are well")
    assert (are_well([well, ill]), conclusion([well, ill])) == (False, "1 of 2 are not well; begin with: mosquitto_pub")
    assert ill.text == "WRONG  acl       it is open\n                 next: mosquitto_pub"
    assert well.told == {"subject": "key", "well": True, "what": "it is there", "next": ""}
