"""How msgpack's parser ends on many bodies, as a program: MSGPACK_PUREPYTHON=1 chooses the one in pure Python.

Reads a msgpack array of bodies from stdin and writes, as JSON: the parser's module, and for each body the message that
it is, or why it is none.
"""

import json
import sys

import msgpack

from mizzle.codec import decode_from_device
from mizzle.errors import Unreadable


def ending(body: bytes) -> str:
    """The message in these bytes, or the kind of its refusal."""
    try:
        return repr(decode_from_device(body))
    except Unreadable as error:
        return type(error).__name__


if __name__ == "__main__":
    bodies = msgpack.unpackb(sys.stdin.buffer.read(), max_array_len=2**20)
    print(json.dumps([msgpack.Unpacker.__module__, [ending(body) for body in bodies]]))  # noqa: T201  # its answer
