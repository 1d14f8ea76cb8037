"""Envelopes that no honest program makes: any header under a good signature, and a length that may lie."""

from mizzle import envelope
from mizzle.envelope import Key, Purpose, key_id


def sealed_header(  # noqa: PLR0913  # each is a field of the envelope
    header: bytes, purpose: Purpose, key: Key, *, epoch: int = 0, counter: int = 0, length: int | None = None
) -> bytes:
    """These bytes as a header under a good signature; `length` is what the prefix claims, if it lies."""
    claimed = len(header) if length is None else length
    prefix = envelope._PREFIX.pack(b"mz", 1, 1, purpose, 0, claimed, epoch, counter, key_id(key.public_key))
    return prefix + key.sign(envelope._signed(purpose, prefix, header)) + header
