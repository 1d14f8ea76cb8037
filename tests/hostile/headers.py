"""Headers in msgpack that no honest device writes, for any message that a device sends, each by name."""

import struct
from typing import Any

import msgpack

MOST_HEADER = 4096

MAP, TEXT = 0x80, 0xA0


def bad_headers(good: dict[str, Any]) -> dict[str, bytes]:
    """Every bad header made from the fields of a good message; none is longer than a header may be."""
    body = msgpack.packb(good)
    return {
        "nothing": b"",
        "as many empty arrays as fit": b"\x90" * MOST_HEADER,
        "arrays in arrays": b"\x91" * MOST_HEADER,
        "maps in maps": b"\x81\xa1a" * (MOST_HEADER // 3),
        "an array as long as it says": b"\xdc\x0f\xf0" + b"\x90" * 4080,
        "an array that claims 4 G": b"\xdd\xff\xff\xff\xff",
        "a map that claims 4 G": b"\xdf\xff\xff\xff\xff",
        "text that claims 4 G": b"\xdb\xff\xff\xff\xff",
        "bytes that claim 4 G": b"\xc6\xff\xff\xff\xff",
        "an ext that claims 4 G": b"\xc9\xff\xff\xff\xff\x01",
        "a field that claims 4 G": with_field(good, "nonce", b"\xc6\xff\xff\xff\xff"),
        "a field of arrays in arrays": with_field(good, "nonce", b"\x91" * 3000 + b"\xc0"),
        "an ext for a field": with_field(good, "nonce", b"\xd8\x05" + bytes(16)),
        "an ext of no bytes": with_field(good, "nonce", b"\xc7\x00\x05"),
        "a timestamp for a number": with_field(good, "window", b"\xd6\xff" + bytes(4)),
        "a key twice": twice(good, "window", msgpack.packb(good["window"])),
        "a key twice with another value": twice(good, "window", b"\x00"),
        "the type twice": twice(good, "type", msgpack.packb("presence.v1")),
        "a key of NaN": keyed(good, b"\xcb\x7f\xf8" + bytes(6)),
        "a key of NaN twice": keyed(good, b"\xcb\x7f\xf8" + bytes(6), times=2),
        "a key of infinity": keyed(good, b"\xcb\x7f\xf0" + bytes(6)),
        "a key of nil": keyed(good, b"\xc0"),
        "a key of an array": keyed(good, b"\x90"),
        "a key of a map": keyed(good, b"\x80"),
        "a key of bytes": keyed(good, b"\xc4\x01a"),
        "a key that is no text": keyed(good, b"\xa2\xff\xfe"),
        "a value of NaN": with_field(good, "window", b"\xcb\x7f\xf8" + bytes(6)),
        "a value of infinity": with_field(good, "window", b"\xcb\x7f\xf0" + bytes(6)),
        "a value of minus infinity": with_field(good, "window", b"\xcb\xff\xf0" + bytes(6)),
        "a value of minus zero": with_field(good, "window", b"\xcb\x80" + bytes(7)),
        "a whole number as a float": with_field(good, "window", b"\xcb" + struct.pack(">d", 1.0)),
        "a number as text": with_field(good, "window", b"\xa11"),
        "a number as a boolean": with_field(good, "window", b"\xc3"),
        "a number below its bound": with_field(good, "window", b"\xff"),
        "a number above its bound": with_field(good, "window", b"\xcf" + struct.pack(">Q", 2**53 + 1)),
        "the largest number": with_field(good, "window", b"\xcf" + b"\xff" * 8),
        "the smallest number": with_field(good, "window", b"\xd3\x80" + bytes(7)),
        "the byte that msgpack never uses": with_field(good, "window", b"\xc1"),
        "one byte behind": body + b"\0",
        "the same message behind": body + body,
        "cut in the middle": body[: len(body) // 2],
        "cut by its last byte": body[:-1],
        "one field too many in its head": bytes([body[0] + 1]) + body[1:],
        "one field too few in its head": bytes([body[0] - 1]) + body[1:],
        "a field too many": keyed(good, b"\xa5extra"),
    } | of_another_shape(good)


def of_another_shape(good: dict[str, Any]) -> dict[str, bytes]:
    """What msgpack takes and no message is: fields that there are not, are missing, or say what they may not."""
    return {
        "a weight of -1": with_field(good, "weight", b"\xff"),
        "a weight of 0": with_field(good, "weight", b"\x00"),
        "a weight of 10^18": with_field(good, "weight", b"\xcf" + struct.pack(">Q", 10**18)),
        "a weight of 10^18 as a float": with_field(good, "weight", b"\xcb" + struct.pack(">d", 1e18)),
        "an array for the message": msgpack.packb(list(good.values())),
        "text for the message": msgpack.packb("update.v1"),
        "nil for the message": b"\xc0",
        "no type": packed({name: value for name, value in good.items() if name != "type"}),
        "an unknown type": packed({**good, "type": "update.v2"}),
        "a type of our own services": packed({**good, "type": "charge.v1"}),
        "a field missing": packed({name: value for name, value in good.items() if name != "window"}),
        "a name with a wildcard": packed({**good, "device": "pump/#"}),
        "a name with a line's end": packed({**good, "device": "pump-7\n"}),
        "a name of a thousand letters": packed({**good, "device": "p" * 1000}),
    }


def packed(fields: dict[str, Any]) -> bytes:
    """The fields as an honest encoder writes them."""
    body: bytes = msgpack.packb(fields)
    return body


def with_field(good: dict[str, Any], name: str, value: bytes) -> bytes:
    """The message with these very bytes as the value of a field, the last one if it has no such field."""
    items = [(key, msgpack.packb(kept)) for key, kept in good.items() if key != name]
    return _map([*items, (name, value)])


def twice(good: dict[str, Any], name: str, value: bytes) -> bytes:
    """The message with one more field of a name that it has."""
    return _map([*((key, msgpack.packb(kept)) for key, kept in good.items()), (name, value)])


def keyed(good: dict[str, Any], key: bytes, times: int = 1) -> bytes:
    """The message with one more field, or more, whose key are these very bytes."""
    rest = b"".join(msgpack.packb(name) + msgpack.packb(value) for name, value in good.items())
    return bytes([MAP | len(good) + times]) + rest + (key + b"\x01") * times


def _map(items: list[tuple[str, bytes]]) -> bytes:
    return bytes([MAP | len(items)]) + b"".join(bytes([TEXT | len(key)]) + key.encode() + value for key, value in items)
