"""The words of Mizzle and their bounds, each said once.

A bound stands here and nowhere else: the codec checks it, the JSON Schema carries its sentence. Every number has both
bounds, because infinity passes a lower one and integers have no end of their own.
"""

from typing import Annotated, Final

from msgspec import Meta

# A final newline passes `$`; `(?![\s\S])` means that nothing at all may follow.
_NAME = r"^[A-Za-z0-9_-]{1,64}(?![\s\S])"

DeviceId = Annotated[
    str, Meta(pattern=_NAME, description="a device's name, the same as certificate, client id and topic level")
]
FederationId = Annotated[
    str, Meta(pattern=_NAME, description="the name of a federation: one model, trained by one plan")
]
Word = Annotated[str, Meta(pattern=_NAME, description="a short name: a reason, a score, a role")]
MOST_SENTENCE: Final = 500
"""A longer text is cut before it is said."""
Sentence = Annotated[str, Meta(max_length=MOST_SENTENCE, description="text for people")]

Digest = Annotated[bytes, Meta(min_length=32, max_length=32, description="SHA-256 of some bytes")]
UpdateId = Annotated[
    bytes, Meta(min_length=32, max_length=32, description="SHA-256 of the bytes that the device signed")
]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32, description="an Ed25519 public key")]
KeyId = Annotated[
    bytes, Meta(min_length=16, max_length=16, description="the first 16 bytes of the public key's SHA-256")
]
Proof = Annotated[
    bytes, Meta(min_length=32, max_length=32, description="HMAC-SHA-256 under the secret of an enrolment token")
]
Nonce = Annotated[
    bytes, Meta(min_length=16, max_length=16, description="random bytes, so that an id confirms no guess")
]
Seed = Annotated[bytes, Meta(min_length=32, max_length=32, description="the public seed of a window's rotation")]
Sealed = Annotated[bytes, Meta(max_length=4196, description="an envelope: prefix, signature, header")]
Manifest = Annotated[bytes, Meta(max_length=24_000, description="a signed release manifest: a DSSE envelope in JSON")]
Opaque = Annotated[bytes, Meta(max_length=1024, description="bytes that only their owner reads")]

Instant = Annotated[int, Meta(ge=0, le=2**53, description="milliseconds since 1970-01-01 UTC, by the server's clock")]
WindowNumber = Annotated[
    int, Meta(ge=0, le=2**53, description="a window's number, issued by the ledger; 0 is before the first")
]
Version = Annotated[int, Meta(ge=0, le=2**53, description="a release's version; 0 is the plan's first model")]
Epoch = Annotated[
    int, Meta(ge=0, le=2**32 - 1, description="a parameter epoch: keys, suite and plan that hold together")
]
Counter = Annotated[int, Meta(ge=0, le=2**63 - 1, description="grows with every message that one key signs")]

Count = Annotated[int, Meta(ge=0, le=2**40, description="how many")]
PartIndex = Annotated[int, Meta(ge=0, le=2**16 - 1, description="a part's place in its update, from 0")]
PartCount = Annotated[int, Meta(ge=1, le=2**16, description="how many parts, at least one")]
MOST_RUNS: Final = 64
"""A longer list of missing parts is cut: the rest is named at the next probe."""
Size = Annotated[int, Meta(ge=0, le=2**32, description="a length in bytes")]
Bound = Annotated[int, Meta(ge=1, le=2**40, description="S: the largest norm of an update, in units of the grid")]
Weight = Annotated[int, Meta(ge=0, le=64, description="an update's integer weight in its window's sum; 64 is one")]
Staleness = Annotated[
    int,
    Meta(
        ge=0,
        le=2**53,
        description="how much later than named an update is combined: in windows, or in model versions where buffered",
    ),
]
MuSquared = Annotated[int, Meta(ge=0, le=2**62, description="a privacy loss μ² in units of 2^-32, rounded up")]
Sigma = Annotated[
    int, Meta(ge=0, le=2**56, description="the standard deviation of the noise on the weighted integer sum")
]
MOST_SCORE: Final = 1e300
Score = Annotated[
    float, Meta(ge=-MOST_SCORE, le=MOST_SCORE, description="what a score found; its meaning is the score's own")
]
Share = Annotated[float, Meta(ge=0, le=1, description="a part of one")]
Celsius = Annotated[float, Meta(ge=-100, le=200, description="degrees Celsius")]

FULL_WEIGHT: Final = 64
"""W: the weight of an update that is not late; a staleness s(τ) ≤ 1 is ⌊64·s(τ)⌋."""

SHARDS: Final = 64
"""A device belongs to one shard for ever: SHA-256(device id)[0] mod 64."""
