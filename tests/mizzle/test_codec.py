"""Messages and bytes are the same thing said twice; other bytes are refused cheaply. See tests/contract."""

import math
import random
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from mizzle.codec import (
    MOST_BYTES,
    decode,
    decode_between_services,
    decode_from_device,
    decode_to_device,
    encode,
    is_flat,
    read_within_limits,
)
from mizzle.errors import Oversized, Unreadable
from mizzle.messages import BetweenServices, Decline, FromDevice, Message, Rejection, ToDevice
from tests.mizzle.some import BETWEEN_SERVICES, FROM_DEVICE, TO_DEVICE

DECLINE = Decline(federation="watch-har", device="pump-7", window=7, reason="battery")
MEGABYTE = 1024 * 1024


@given(FROM_DEVICE)
def test_what_a_device_says_comes_back(message: Message) -> None:
    assert decode_from_device(encode(message)) == message


@given(TO_DEVICE)
def test_what_a_device_is_told_comes_back(message: Message) -> None:
    assert decode_to_device(encode(message)) == message


@given(BETWEEN_SERVICES)
def test_what_services_say_comes_back(message: Message) -> None:
    assert decode_between_services(encode(message)) == message


@given(BETWEEN_SERVICES)
def test_a_message_begins_with_its_type_and_goes_on_in_the_order_of_its_fields(message: Message) -> None:
    assert list(msgpack.unpackb(encode(message))) == ["type", *message.__struct_fields__]


@given(TO_DEVICE, st.data())
def test_a_message_cut_anywhere_is_refused(message: Message, data: st.DataObject) -> None:
    body = encode(message)
    with pytest.raises(Unreadable):
        decode_to_device(body[: data.draw(st.integers(0, len(body) - 1))])


@given(FROM_DEVICE, st.binary(min_size=1, max_size=20))
def test_a_message_with_something_behind_it_is_refused(message: Message, more: bytes) -> None:
    with pytest.raises(Unreadable):
        decode_from_device(encode(message) + more)


@given(TO_DEVICE, st.data())
def test_a_changed_byte_makes_another_message_or_none(message: Message, data: st.DataObject) -> None:
    body = bytearray(encode(message))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_to_device(bytes(body))
    except Unreadable:
        return
    assert decode_to_device(encode(found)) == found


@given(st.binary(max_size=300))
def test_other_bytes_are_refused_as_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        decode_between_services(body)


TREES = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=20,
)


@given(TREES)
def test_other_msgpack_is_refused_as_unreadable(tree: Any) -> None:
    with pytest.raises(Unreadable):
        decode_between_services(msgpack.packb(tree))


@given(FROM_DEVICE, st.text(max_size=10), TREES)
def test_a_field_that_a_message_does_not_have_is_refused(message: Message, name: str, value: Any) -> None:
    fields = msgpack.unpackb(encode(message))
    with pytest.raises(Unreadable):
        decode_from_device(msgpack.packb({**fields, name + "?": value}))


@given(FROM_DEVICE, st.data())
def test_a_message_without_one_of_its_fields_is_refused_unless_it_may_be_left_out(
    message: Message, data: st.DataObject
) -> None:
    fields = msgpack.unpackb(encode(message))
    name = data.draw(st.sampled_from(sorted(fields)))
    rest = msgpack.packb({key: value for key, value in fields.items() if key != name})
    if name in {"battery", "temperature", "link"}:
        assert getattr(decode_from_device(rest), name) is None
    else:
        with pytest.raises(Unreadable, match=f"missing required field `{name}`"):
            decode_from_device(rest)


@pytest.mark.parametrize("kind", [Decline, FromDevice])
def test_a_message_says_its_type_also_where_only_one_is_expected(kind: Any) -> None:
    fields = msgpack.unpackb(encode(DECLINE))
    assert decode(msgpack.packb(fields), kind) == DECLINE
    for wrong in ({**fields, "type": "presence.v1"}, {name: fields[name] for name in fields if name != "type"}):
        with pytest.raises(Unreadable):
            decode(msgpack.packb(wrong), kind)


def test_a_refusal_names_the_message_and_the_field() -> None:
    body = msgpack.packb({**msgpack.unpackb(encode(DECLINE)), "window": -1})
    with pytest.raises(Unreadable, match=r"this is no Decline: .*>= 0 - at `\$\.window`"):
        decode(body, Decline)


def test_a_message_is_as_long_as_allowed_and_no_byte_longer() -> None:
    body = encode(DECLINE)
    assert decode(body, Decline, most=len(body)) == DECLINE
    with pytest.raises(Oversized):
        decode(body, Decline, most=len(body) - 1)
    with pytest.raises(Oversized):
        decode_between_services(bytes(MOST_BYTES + 1))


def test_a_message_of_twenty_thousand_updates_fits() -> None:
    rejection = Rejection(window=7, members=tuple(index.to_bytes(32, "big") for index in range(20_000)))
    assert decode_between_services(encode(rejection)) == rejection


BOMBS = {
    "an array that claims 4 G": b"\xdd\xff\xff\xff\xff",
    "a map that claims 4 G": b"\xdf\xff\xff\xff\xff",
    "bytes that claim 4 G": b"\xc6\xff\xff\xff\xff",
    "an array as long as it says": b"\xdc\x0f\xf0" + b"\x90" * 4080,
    "arrays in arrays": b"\x91" * 4096,
    "maps in maps": b"\x81\xa1a" * 1300,
    "every kind at random": random.Random(1).randbytes(4096),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_a_device_sends_allocates_less_than_a_megabyte(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable):
            decode_from_device(BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < MEGABYTE
    finally:
        tracemalloc.stop()


@given(BETWEEN_SERVICES)
def test_a_message_is_read_in_whatever_order_its_fields_stand(message: Message) -> None:
    """Devices that others write need not order them as we do."""
    tree = msgpack.unpackb(encode(message))
    turned = msgpack.packb(dict(reversed(tree.items())))
    assert decode_between_services(turned) == message


@given(BETWEEN_SERVICES, st.data())
def test_what_is_read_in_one_go_is_what_the_limits_would_make_of_it(message: Message, data: st.DataObject) -> None:
    body = bytearray(encode(message))
    for _ in range(data.draw(st.integers(0, 2))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    assert made_of(decode_between_services, bytes(body)) == made_of(within_limits, bytes(body))


@given(BETWEEN_SERVICES, st.data())
def test_a_key_that_stands_twice_is_refused_where_it_is_read_in_one_go_too(
    message: Message, data: st.DataObject
) -> None:
    body = encode(message)
    name = data.draw(st.sampled_from(message.__struct_fields__))
    again = msgpack.packb(name) + msgpack.packb(msgpack.unpackb(body)[name])
    with pytest.raises(Unreadable, match="a key stands twice"):
        decode_between_services(bytes([body[0] + 1]) + body[1:] + again)


def within_limits(body: bytes) -> Message:
    message: Message = read_within_limits(body, BetweenServices)  # type: ignore[arg-type]  # a union is a type to msgspec
    return message


def made_of(read: Callable[[bytes], Message], body: bytes) -> Message | str:
    try:
        return read(body)
    except Unreadable as error:
        return str(error)


def test_no_field_of_a_message_without_lists_may_be_longer_than_the_limits_allow() -> None:
    """Such a message may be read in one go, without them."""
    kinds = [inspect.type_info(kind) for union in (BetweenServices, FromDevice, ToDevice) for kind in get_args(union)]
    flat = [kind for kind in kinds if is_flat(kind)]
    assert len(flat) > len(kinds) // 2
    for kind in flat:
        assert all(most <= (4096 if is_text else 65_536) for is_text, most in longest(kind))


def longest(kind: inspect.Type) -> Iterator[tuple[bool, float]]:
    """Of each text and each bytes in it, whether it is text, and how long it may be."""
    match kind:
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from longest(field.type)
        case inspect.UnionType(types=types):
            for one in types:
                yield from longest(one)
        case inspect.Metadata(type=inner):
            yield from longest(inner)
        case inspect.StrType(pattern=str(pattern)) if pattern.startswith("^[A-Za-z0-9_-]{1,64}(?!"):
            yield True, 64
        case inspect.StrType(max_length=most) | inspect.BytesType(max_length=most):
            yield isinstance(kind, inspect.StrType), math.inf if most is None else most
