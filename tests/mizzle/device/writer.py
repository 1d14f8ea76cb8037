"""Writes into an outbox until it is killed: says what it is about to do, does it, and says that it is done."""

import hashlib
import sys
from pathlib import Path

from mizzle.device.outbox import Outbox


def update_of(number: int) -> bytes:
    return hashlib.sha256(b"update %d" % number).digest()


def payload_of(number: int) -> bytes:
    return update_of(number) * 100


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201  # its reader waits for it


if __name__ == "__main__":
    first = int(sys.argv[2])
    with Outbox(Path(sys.argv[1])) as outbox:
        for number in range(first, first + 10_000):
            say("keep", number)
            outbox.keep(update_of(number), number, b"sealed", payload_of(number))
            say("done")
            say("reserve", 10)
            outbox.reserve(10)
            say("done")
            if number - first >= 3:
                say("clear", number - 3)
                outbox.clear(update_of(number - 3), b"receipt %d" % (number - 3))
                say("done")
