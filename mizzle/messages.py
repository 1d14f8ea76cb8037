"""Every message of Mizzle, in the order it flows: what devices and services say to each other.

A message is frozen and means the same wherever it is read. On the wire it is a msgpack map with its `type`
(`mizzle.codec`); what crosses the broker is sealed besides (`mizzle.envelope`). Devices say `Enrolment`, `Presence`,
`Decline` and `Update`, and are told `Identity`, `Invitation` and `Receipt`, and without a seal `Held` and `Want`;
everything else stays between services, on Redis streams.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from mizzle.known import known
from mizzle.vocabulary import (
    MOST_RUNS,
    Bound,
    Celsius,
    Count,
    DeviceId,
    Digest,
    Epoch,
    FederationId,
    Instant,
    Manifest,
    MuSquared,
    Nonce,
    Opaque,
    PartCount,
    PartIndex,
    Proof,
    PublicKey,
    Score,
    Sealed,
    Seed,
    Sentence,
    Share,
    Sigma,
    Size,
    Staleness,
    UpdateId,
    Version,
    Weight,
    WindowNumber,
    Word,
)


class Record(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a message; it never travels alone."""


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """Something said; its `type` names it and its version."""


class BlobRef(Record):
    """Bytes that lie elsewhere, named by what they are."""

    digest: Digest
    size: Size


class ModelRef(Record):
    """A released model: where to start from."""

    version: Version
    digest: Digest
    size: Size


# Belonging ------------------------------------------------------------------------------------------------------------


class Enrolment(Message, tag="enrolment.v1"):
    """A device asks to belong. The envelope is signed with the key it brings: that is the proof of possession."""

    federation: FederationId
    device: DeviceId
    public_key: PublicKey
    proof: Proof


class ServerKey(Record):
    """A key of the federation, and the only kind of message it may sign."""

    role: Literal["receipt", "invitation", "release"]
    public_key: PublicKey


class Identity(Message, tag="identity.v1"):
    """A device belongs from now on: whom it may believe, and the plan it works by."""

    federation: FederationId
    device: DeviceId
    public_key: PublicKey
    keys: tuple[ServerKey, ...]
    plan: BlobRef
    epoch: Epoch


class Presence(Message, tag="presence.v1"):
    """What a device tells about itself while it is connected; its last will says `online = false`."""

    federation: FederationId
    device: DeviceId
    online: bool
    examples: Count
    battery: Share | None = None
    temperature: Celsius | None = None
    link: Literal["ethernet", "wifi", "cellular", "lora"] | None = None


# One window, from its opening to its end ------------------------------------------------------------------------------


class Opening(Message, tag="opening.v1"):
    """The selector asks the ledger to open the window that follows `after`; asking twice opens it once."""

    after: WindowNumber
    cohort: tuple[DeviceId, ...]
    seed: Seed
    at: Instant


class Window(Message, tag="window.v1"):
    """A window is open: a bounded interval of collection on one base model, as the ledger has it.

    `optimizer` is what the strategy remembered when it made the base; none where it remembers nothing. `spent` is the
    most that any device of the federation had spent or reserved when it opened.
    """

    number: WindowNumber
    base: ModelRef
    cohort: tuple[DeviceId, ...]
    goal: Count
    quorum: Count
    most: Count
    deadline: Instant
    seed: Seed
    bound: Bound
    weight_cap: Weight
    optimizer: BlobRef | None = None
    spent: MuSquared = 0


class Exhausted(Message, tag="exhausted.v1"):
    """These devices of a cohort that was asked for have no budget left for another update."""

    devices: tuple[DeviceId, ...]


class Halt(Message, tag="halt.v1"):
    """No window may be opened any more: the budget is spent, or the federation has reached its end."""

    after: WindowNumber
    reason: Literal["budget", "complete"]
    why: Sentence


class Invitation(Message, tag="invitation.v1"):
    """The selector invites one device to a window."""

    federation: FederationId
    device: DeviceId
    window: WindowNumber
    base: ModelRef
    plan: Digest
    epoch: Epoch
    deadline: Instant
    seed: Seed
    bound: Bound


class Decline(Message, tag="decline.v1"):
    """A device does not take part in a window, and says why."""

    federation: FederationId
    device: DeviceId
    window: WindowNumber
    reason: Word


class Update(Message, tag="update.v1"):
    """What one device learned in one window, Δ = θ_local − θ_global on the window's grid; never its data."""

    federation: FederationId
    device: DeviceId
    window: WindowNumber
    base: Digest
    plan: Digest
    nonce: Nonce
    payload: BlobRef


class Received(Message, tag="received.v1"):
    """The gateway has an authentic update, and its payload lies in the payload store under its id."""

    id: UpdateId
    update: Update
    sealed: Sealed


class Unauthenticated(Message, tag="unauthenticated.v1"):
    """The gateway was sent bytes that no enrolled key speaks for; they count as a delivery and as nothing else."""

    device: DeviceId
    reason: Word


class Refusal(Message, tag="refusal.v1"):
    """A service will not take an authentic update any further, whatever it contains."""

    id: UpdateId
    update: Update
    sealed: Sealed
    reason: Word
    why: Sentence = ""


class Verdict(Message, tag="verdict.v1"):
    """What the anomaly detector found in an update, and which of its scores decided.

    A content that is refused goes the same way as one that is accepted: it counts towards its window as the zero
    update, so that contents never change a count (DESIGN 13).
    """

    id: UpdateId
    update: Update
    sealed: Sealed
    decided_by: Word
    score: Score
    refused: Sentence | None = None


class Charge(Message, tag="charge.v1"):
    """The ledger has admitted an update to a window and reserved its privacy loss; weight 0 is the zero update.

    `seed` is the rotation it was coded with, that of the window it names; `spent` is all that its device has spent or
    reserved by now. `staleness` is by how many windows it is late; in a buffered federation, how many versions its
    model is older than the window's, and 0 does not say that it names this window.
    """

    id: UpdateId
    device: DeviceId
    window: WindowNumber
    weight: Weight
    staleness: Staleness
    seed: Seed
    spent: MuSquared


class Member(Record):
    """An update that was added to a window's sum, and the weight it was added with."""

    id: UpdateId
    weight: Weight


class Aggregate(Message, tag="aggregate.v1"):
    """A sealed window: its members, and where the noised integer sum and the model made of it lie.

    `arrived` counts envelopes of the cohort, refused contents among them; `spent` is the most that any device of the
    federation has spent or reserved by now. `noise_key` is the key of the noise, sealed for the federation's auditor
    before it was used; empty where none is named.
    """

    window: WindowNumber
    base: ModelRef
    members: tuple[Member, ...]
    arrived: Count
    spent: MuSquared
    sigma: Sigma
    noise_key: Opaque
    total: BlobRef
    model: BlobRef
    optimizer: BlobRef | None = None


class Abandonment(Message, tag="abandonment.v1"):
    """The aggregator gives a window up: too few had come by the deadline, or were left after a rejection.

    Or no model could be made of it, and `why` says what misbehaved. Then, and after a rejection, noise was drawn,
    though nothing of it left: what was reserved is settled and not void.
    """

    window: WindowNumber
    arrived: Count
    quorum: Count
    noise_was_drawn: bool = False
    why: Sentence = ""


class Release(Message, tag="release.v1"):
    """A model and its signed manifest; on the stream `released` it is in the ledger, and not before."""

    version: Version
    window: WindowNumber
    manifest: Manifest
    manifest_digest: Digest
    model: BlobRef
    optimizer: BlobRef | None = None


class Resumption(Message, tag="resumption.v1"):
    """A ledger that was restored goes on: its newest release, if it has one, under a version that nobody has seen."""

    version: Version
    release: Release | None = None


class Sighting(Message, tag="sighting.v1"):
    """The gateway has met a release at the broker that the ledger does not know; the ledger will see who signed it."""

    manifest: Manifest


class Candidate(Message, tag="candidate.v1"):
    """The releaser asks the ledger to count the members of an aggregate and to remember the release made of them."""

    release: Release
    aggregate: Aggregate


class Rejection(Message, tag="rejection.v1"):
    """The ledger will not count these members in this window: subtract them and seal it again."""

    window: WindowNumber
    members: tuple[UpdateId, ...]


class Closed(Message, tag="closed.v1"):
    """A window has ended in the ledger: `version` is the release made of it, none if it was abandoned.

    `awaited` are the devices that are still at work for it or an earlier window, as it is said; none where a window's
    end is also the end of its tasks, which is so in rounds.
    """

    window: WindowNumber
    version: Version | None = None
    awaited: tuple[DeviceId, ...] = ()


# Endings --------------------------------------------------------------------------------------------------------------


class Counted(Record, tag_field="outcome", tag="counted"):
    """The update is in a release, with this weight."""

    release: Version
    window: WindowNumber
    weight: Weight


class Refused(Record, tag_field="outcome", tag="refused"):
    """The update is in no release and never will be."""

    reason: Word
    why: Sentence = ""


class Abandoned(Record, tag_field="outcome", tag="abandoned"):
    """The update's window was given up: too few devices had come."""

    window: WindowNumber


Outcome = Counted | Refused | Abandoned


class Receipt(Message, tag="receipt.v1"):
    """How an update ended, for ever; only a valid receipt clears an outbox entry."""

    federation: FederationId
    device: DeviceId
    update: UpdateId
    window: WindowNumber
    outcome: Outcome
    at: Instant


class Run(Record):
    """Parts of an update that follow one another: the first of them, and how many."""

    first: PartIndex
    count: PartCount


class Held(Message, tag="held.v1"):
    """The gateway has every part of the update that a probe asked about. A hint, unsigned: it clears nothing."""

    update: UpdateId


class Want(Message, tag="want.v1"):
    """The gateway lacks these parts of the update that a probe asked about; all of them, if it knows none.

    A hint, unsigned: it says which parts to send now, and nothing else.
    """

    update: UpdateId
    parts: Annotated[tuple[Run, ...], Meta(min_length=1, max_length=MOST_RUNS)]


class Answer(Message, tag="answer.v1"):
    """A sealed message on its way from the ledger or the selector to one device; the gateway delivers it as it is.

    `ends` is the update whose receipt this is, if nobody needs its payload any longer.
    """

    device: DeviceId
    kind: Literal["identity", "invitation", "receipt"]
    sealed: Sealed
    ends: UpdateId | None = None


FromDevice = Enrolment | Presence | Decline | Update
"""What a device may publish, sealed with its own key."""

ToDevice = Identity | Invitation | Receipt
"""What a device is told, sealed with a key of the federation."""

Hint = Held | Want
"""What the gateway answers to a probe where there is no receipt yet; nobody has signed it."""

BetweenServices = (
    Enrolment
    | Presence
    | Decline
    | Received
    | Unauthenticated
    | Refusal
    | Verdict
    | Opening
    | Window
    | Exhausted
    | Halt
    | Charge
    | Aggregate
    | Abandonment
    | Candidate
    | Release
    | Resumption
    | Sighting
    | Rejection
    | Closed
    | Answer
)
"""What services write on streams and read from them."""


def refers_to(message: Message) -> tuple[bytes, ...]:
    """The keys of the bytes that a message is about: a payload by its update's id, a blob by its digest."""
    match message:
        case Received(id=key) | Verdict(id=key) | Charge(id=key):
            return (key,)
        case Window(base=base, optimizer=optimizer):
            return (base.digest, optimizer.digest) if optimizer else (base.digest,)
        case Rejection(members=members):
            return members
        case Aggregate(total=total, model=model, optimizer=optimizer):
            return tuple(blob.digest for blob in (total, model, optimizer) if blob)
        case Candidate(aggregate=aggregate):
            return refers_to(aggregate)
        case Release(model=model, optimizer=optimizer):
            return tuple(blob.digest for blob in (model, optimizer) if blob)
        case _:
            return ()


known(FromDevice, ToDevice, Hint, BetweenServices)
