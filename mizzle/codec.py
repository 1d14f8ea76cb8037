"""A message as bytes, and bytes as a message: msgpack with hard limits, then one strict conversion.

The limits come first because a few bytes of msgpack can claim gigabytes (FACTS 19); types, bounds and unknown fields
are then the business of `mizzle.messages` alone.

Nearly all bytes that come are those that we would write ourselves. Of a message without lists they are read in one go,
and written again: if the same bytes come of it, nothing was in them but the message, no key twice and no claim of what
is not there (ADR 22). All others are read as above, so what is taken and what is refused, and why, is the same.
"""

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, Final, TypeVar, get_args

import msgpack
import msgspec
from msgspec import inspect

from mizzle.errors import Oversized, Unreadable
from mizzle.messages import BetweenServices, FromDevice, Hint, Message, ToDevice

MOST_BYTES: Final = 4 * 1024 * 1024
"""No message is longer; a window's cohort and an aggregate's members are the longest."""

M = TypeVar("M")

_LIMITS: Final = {"max_ext_len": 0, "max_str_len": 4096, "max_bin_len": 64 * 1024, "max_map_len": 64}
_encode = msgspec.msgpack.Encoder().encode

_TYPE: Final = b"\xa4type"
_TAG: Final = 1 + len(_TYPE)
"""Where a message that we wrote has its tag: behind the map's first byte and the first key."""


def encode(message: Message) -> bytes:
    """The bytes of `message`: a msgpack map in the order of its fields, so that equal messages have equal bytes."""
    return _encode(message)


def decode(body: bytes, kind: type[M], most: int = MOST_BYTES) -> M:
    """The message of type `kind` (a message or a union of messages) that `body` holds.

    Raises:
        Oversized: `body` is longer than `most` bytes. Unreadable: not one msgpack map within our limits, a key twice,
        or a field that is missing, unknown or out of bounds; the text names it.
    """
    if len(body) > most:
        text = f"a message is at most {most} bytes long, got {len(body)}"
        raise Oversized(text)
    ours = _as_we_write_it(body, kind)
    return read_within_limits(body, kind) if ours is None else ours


def read_within_limits(body: bytes, kind: type[M]) -> M:
    """The message of type `kind` in whatever bytes; raises as `decode` does."""
    tree = _unpack(body)
    try:
        return msgspec.convert(tree, _named(tree["type"], kind), strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        text = f"this is no {_names(kind)}: {error}"
        raise Unreadable(text) from error


def decode_from_device(body: bytes) -> FromDevice:
    """What a device said; raises as `decode` does, for more than 4 kB already."""
    return decode(body, FromDevice, most=4096)  # type: ignore[arg-type]  # a union is a type to msgspec, not to mypy


def decode_to_device(body: bytes) -> ToDevice:
    """What a device is told; raises as `decode` does, for more than 4 kB already."""
    return decode(body, ToDevice, most=4096)  # type: ignore[arg-type]  # as above


def decode_hint(body: bytes) -> Hint:
    """What the gateway answered to a probe, unsigned; raises as `decode` does, for more than 4 kB already."""
    return decode(body, Hint, most=4096)  # type: ignore[arg-type]  # as above


def decode_between_services(body: bytes) -> BetweenServices:
    """What one service said to another; raises as `decode` does."""
    return decode(body, BetweenServices)  # type: ignore[arg-type]  # as above


def _as_we_write_it(body: bytes, kind: type[M]) -> M | None:
    """The message of type `kind`, if it has no lists and these are exactly the bytes that `encode` makes of it."""
    if body[1:_TAG] != _TYPE or len(body) == _TAG:
        return None
    read = _at_once(kind).get(body[_TAG : _TAG + 1 + (body[_TAG] & 0x1F)])  # type: ignore[arg-type]  # can be hashed
    if read is None:
        return None
    try:
        message: Any = read(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return message if _encode(message) == body else None


@cache
def _at_once(kind: Hashable) -> dict[bytes, Callable[[bytes], Any]]:
    """How to read those messages of the union that have no lists, by the bytes of their tags."""
    return {
        msgspec.msgpack.encode(tag): msgspec.msgpack.Decoder(member).decode
        for tag, member in _by_name(kind).items()
        if is_flat(inspect.type_info(member))
    }


def is_flat(kind: inspect.Type) -> bool:
    """Whether nothing of this type has others of any number in it: bytes cannot claim that there are more than are."""
    match kind:
        case inspect.StructType(fields=fields):
            return all(is_flat(field.type) for field in fields)
        case inspect.UnionType(types=types):
            return all(map(is_flat, types))
        case inspect.Metadata(type=inner):
            return is_flat(inner)
        case _:
            return isinstance(kind, _FLAT)


_FLAT: Final = (
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.BoolType,
    inspect.NoneType,
    inspect.LiteralType,
)


def _unpack(body: bytes) -> dict[str, Any]:
    try:
        tree = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_no_key_twice,
            max_array_len=min(len(body), 65_536),
            **_LIMITS,
        )
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        text = f"this is no msgpack within our limits: {str(error) or type(error).__name__}"
        raise Unreadable(text) from error
    if not isinstance(tree, dict):
        text = f"a message is a msgpack map, got {type(tree).__name__}"
        raise Unreadable(text)
    if "type" not in tree:  # msgspec asks for it only where it has to choose
        raise Unreadable("this is no message: Object missing required field `type`")
    return tree


def _named(name: object, kind: type[M]) -> type[M]:
    """The one message of the union that bears this name, or the whole union, which will refuse it.

    msgspec looks at all members of a union again with every call, which for `BetweenServices` takes eight times as long
    as the conversion itself, and more.
    """
    if not isinstance(name, str):
        return kind
    return _by_name(kind).get(name, kind)  # type: ignore[arg-type, no-any-return]  # a type can be hashed


@cache
def _by_name(kind: Hashable) -> dict[str, Any]:
    return {member.__struct_config__.tag: member for member in get_args(kind) or (kind,)}


def _no_key_twice(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        text = "a key stands twice in one map"
        raise ValueError(text)
    return fields


def _names(kind: Any) -> str:  # noqa: ANN401  # a type or a union of types
    return " or ".join(member.__name__ for member in get_args(kind) or (kind,))
