"""A header is bytes until its signature is checked, and then one strict message or none; see headers.py."""

import json
import os
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizzle.codec import decode_from_device, encode
from mizzle.envelope import FIXED, Key, Purpose
from mizzle.errors import Unreadable
from mizzle.messages import Message
from mizzle.parts import CHUNK
from mizzle.topics import Up
from services.gateway.receive import MOST_ENROLMENT, Arrivals, Came, Taken, receive
from tests.hostile.envelopes import sealed_header
from tests.hostile.headers import MOST_HEADER, bad_headers
from tests.hostile.memory import MIB
from tests.hostile.parser import ending
from tests.lives import CHECKOUT
from tests.mizzle.some import FROM_DEVICE
from tests.services.gateway.devices import Device

PUMP = Device()
STRANGER = Key(b"?" * 32)
PURPOSES = {Up.UPDATE: Purpose.UPDATE, Up.PRESENCE: Purpose.PRESENCE, Up.DECLINE: Purpose.DECLINE}
GOOD: dict[str, Any] = msgpack.unpackb(encode(PUMP.update(b"levels")))
HEADERS = bad_headers(GOOD)
DECODERS = ("mizzle.codec", "msgpack", "msgspec", "json", "zstandard", "mizzle.packing")


def called(act: Callable[[], Taken]) -> tuple[set[str], Taken]:
    """The modules whose functions ran while this was done, in Python or C."""
    modules: set[str] = set()

    def seen(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            modules.add(str(frame.f_globals.get("__name__")))
        if event == "c_call":
            modules.add(str(argument.__module__))

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        taken = act()
    finally:
        sys.setprofile(before)
    return modules, taken


def decoders(body: bytes, kind: Up, *, known: bool = True) -> tuple[set[str], Taken]:
    """The decoders that ran while the gateway received this, and what it made of it."""
    came = Came(PUMP.topic(kind), body, PUMP.key.public_key if known else None, now=0)
    modules, taken = called(lambda: receive(Arrivals("barn", 1_000_000), came))
    return {module for module in modules if module.startswith(DECODERS)}, taken


ANY_HEADER = st.sampled_from(sorted(HEADERS.values())) | st.binary(max_size=MOST_HEADER) | FROM_DEVICE.map(encode)


@settings(max_examples=200)
@given(ANY_HEADER, st.sampled_from(sorted(PURPOSES)), st.sampled_from(Purpose), st.binary(max_size=40), st.booleans())
def test_no_decoder_sees_a_header_whose_signature_is_another_keys(
    header: bytes,
    kind: Up,
    purpose: Purpose,
    behind: bytes,
    known: bool,  # noqa: FBT001  # hypothesis passes by place
) -> None:
    seen, taken = decoders(sealed_header(header, purpose, STRANGER) + behind, kind, known=known)
    assert seen == set()
    assert taken.reason in ({"forged", "unreadable"} if known else {"unknown"})


@settings(max_examples=200)
@given(ANY_HEADER, st.sampled_from(sorted(PURPOSES)), st.integers(0, 8 * FIXED - 1))
def test_nor_one_whose_prefix_or_signature_was_touched(header: bytes, kind: Up, bit: int) -> None:
    body = bytearray(sealed_header(header, PURPOSES[kind], PUMP.key))
    body[bit // 8] ^= 1 << bit % 8
    seen, taken = decoders(bytes(body), kind)
    assert (seen, taken.is_stray) == (set(), True)


@settings(max_examples=200)
@given(st.binary(max_size=CHUNK), st.sampled_from(sorted(PURPOSES)))
def test_nor_any_other_bytes(body: bytes, kind: Up) -> None:
    seen, taken = decoders(body, kind)
    assert (seen, taken.is_stray) == (set(), True)


@pytest.mark.parametrize("kind", PURPOSES)
def test_a_header_under_a_good_signature_does_reach_the_decoder(kind: Up) -> None:
    """Else the tests above would prove nothing."""
    for header in (b"", encode(PUMP.decline())):
        seen, _ = decoders(sealed_header(header, PURPOSES[kind], PUMP.key), kind)
        assert "mizzle.codec" in seen


@pytest.mark.parametrize("name", HEADERS)
def test_an_enrolment_is_read_before_it_is_verified_and_that_costs_next_to_nothing(name: str) -> None:
    """The one exception: the key is in it. What is read is at most 512 bytes long, and claims nothing that is kept."""
    bodies = [sealed_header(HEADERS[name][:length], Purpose.ENROLMENT, STRANGER) for length in (MOST_ENROLMENT, None)]
    tracemalloc.start()
    try:
        taken = [decoders(body, Up.ENROL, known=False)[1] for body in bodies]
        assert tracemalloc.get_traced_memory()[1] < MIB / 4
    finally:
        tracemalloc.stop()
    assert [one.reason for one in taken] == ["unreadable", "unreadable"]


@pytest.mark.parametrize("name", HEADERS)
def test_a_bad_header_is_no_message_of_a_device(name: str) -> None:
    with pytest.raises(Unreadable):
        decode_from_device(HEADERS[name])


def test_the_parsers_in_c_and_in_python_agree() -> None:
    bodies = [*HEADERS.values(), *bombs(), *mutations(2000)]
    here = [ending(body) for body in bodies]
    environment = {**os.environ, "MSGPACK_PUREPYTHON": "1"}
    argv = [sys.executable, "-m", "tests.hostile.parser"]
    told = subprocess.run(
        argv, cwd=CHECKOUT, env=environment, input=msgpack.packb(bodies), stdout=subprocess.PIPE, check=True
    )
    parser, there = json.loads(told.stdout)
    assert (msgpack.Unpacker.__module__, parser) == ("msgpack._cmsgpack", "msgpack.fallback")
    assert there == here
    assert 100 < sum("(" in one for one in here) < 1900


def bombs() -> Iterator[bytes]:
    """What is longer than a header may be, and shorter than a message between services."""
    for byte in (b"\x90", b"\x91", b"\x81", b"\xdd\xff\xff\xff\xff"):
        yield byte * (MIB // len(byte))
    yield b"\x90" * 8 * MIB


def mutations(count: int) -> Iterator[bytes]:
    """Good messages with a few bytes changed, doubled or cut out; the same ones every time."""
    chance = random.Random(19)
    messages: list[Message] = [PUMP.update(b"levels"), PUMP.presence(), PUMP.decline(), PUMP.enrolment()]
    for _ in range(count):
        body = bytearray(encode(chance.choice(messages)))
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(body))
            match chance.randrange(3):
                case 0:
                    body[at] = chance.randrange(256)
                case 1:
                    body[at:at] = body[at : at + chance.randrange(1, 9)]
                case _:
                    del body[at : at + chance.randrange(1, 9)]
        yield bytes(body)
