"""What goes over the broker, decoded for people: who says what to whom, how long it is, and whether it is genuine.

Nothing of a payload is shown, nor anything that a device tells of itself beside being there: how long a thing is, which
window and update it belongs to, and how an update ended are enough to see where it got stuck.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mizzle import manifest, parts, topics
from mizzle.codec import decode, decode_hint
from mizzle.envelope import MOST_HEADER, Envelope, key_id, unseal
from mizzle.errors import Forged, Unreadable
from mizzle.messages import (
    Abandoned,
    Counted,
    Decline,
    Enrolment,
    FromDevice,
    Hint,
    Identity,
    Invitation,
    Presence,
    Receipt,
    Refused,
    ToDevice,
    Update,
    Want,
)
from mizzle.parts import Later

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mizzle.transport.bus import Arrived

Keys = Mapping[bytes, bytes]
"""Public keys by their ids."""

GATEWAY: Final = "gateway"


@dataclass(frozen=True)
class Seen:
    """A message on the broker. `genuine` is None where nobody here knows the key, or nothing is signed.

    `size` is in bytes; `more` holds what else its kind tells; `fault` is why it is no message of ours, if it is none.
    """

    topic: str
    kind: str
    sender: str
    size: int
    retained: bool
    genuine: bool | None = None
    window: int | None = None
    update: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""

    @property
    def line(self) -> str:
        """It in one line for people."""
        mark = {True: "genuine", False: "FORGED", None: "unverified"}[self.genuine]
        about = [f"window {self.window}"] if self.window is not None else []
        about += [f"update {self.update}"] if self.update else []
        about += [f"{name} {value}" for name, value in self.more.items()]
        about += ["retained"] if self.retained else []
        about += [self.fault] if self.fault else []
        line = f"{self.kind:<10} {self.sender:<16} {self.size:>7} B  {mark:<10}  {', '.join(about)}".rstrip()
        # What a device wrote may stand in it: nothing of that moves a cursor, begins a line or turns one around.
        return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


def keys_of(public_keys: Iterable[bytes]) -> Keys:
    """These keys by their ids."""
    return {key_id(key): key for key in public_keys}


def see(arrived: Arrived, keys: Keys, federation: str) -> tuple[Seen, Keys]:
    """What arrived, and the keys that are known after it: a genuine identity brings its own and the federation's."""
    seen = _bare(arrived, federation)
    try:
        match seen.kind:
            case "release":
                return _release(seen, arrived.body, keys, federation), keys
            case "blob":
                return seen, keys
            case "probe":
                return _probe(seen, arrived.body, keys), keys
            case "want":
                return _hint(seen, decode_hint(arrived.body)), keys
            case "state":
                return replace(seen, more=_state(arrived.body)), keys
            case "update":
                return _update(seen, arrived.body, keys), keys
            case "unknown":
                return replace(seen, fault="no topic of ours"), keys
            case _:
                return _sealed(seen, arrived.body, keys)
    except Unreadable as error:
        return replace(seen, fault=str(error)), keys


def _bare(arrived: Arrived, federation: str) -> Seen:
    """What the topic tells alone."""
    topic = arrived.topic
    kind, sender, more = "unknown", "-", dict[str, Any]()
    if piece := topics.parse_blob(topic):
        kind, sender, more = "blob", GATEWAY, {"digest": piece[0].hex()[:16], "piece": piece[1]}
    elif topic == topics.release(federation):
        kind, sender = "release", GATEWAY
    elif topic == topics.state(federation):
        kind, sender = "state", GATEWAY
    elif told := topics.parse_to(topic):
        kind, sender, more = told.kind, GATEWAY, {"to": told.device}
    else:
        try:
            spoken = topics.parse_up(topic)
        except Unreadable:
            pass
        else:
            kind, sender = spoken.kind.value, spoken.device
    return Seen(topic, kind, sender, len(arrived.body), arrived.retained, more=more)


def _sealed(seen: Seen, body: bytes, keys: Keys) -> tuple[Seen, Keys]:
    """A message that is one envelope and nothing else."""
    envelope = unseal(body)
    message = decode(envelope.header, FromDevice | ToDevice, MOST_HEADER)  # type: ignore[arg-type]  # a union is a type to msgspec
    known = {**keys, **keys_of([message.public_key])} if isinstance(message, Enrolment) else keys
    genuine = _is_genuine(envelope, known)
    if isinstance(message, Identity) and genuine:
        keys = {**keys, **keys_of([message.public_key, *(key.public_key for key in message.keys)])}
    return replace(_described(seen, message), genuine=genuine), keys


def _described(seen: Seen, message: FromDevice | ToDevice) -> Seen:
    """With what the message tells, its contents left out."""
    more = dict(seen.more)
    match message:
        case Presence(online=online):
            return replace(seen, more={**more, "online": online})
        case Decline(window=window, reason=reason):
            return replace(seen, window=window, more={**more, "reason": reason})
        case Invitation(window=window, base=base, deadline=deadline):
            return replace(seen, window=window, more={**more, "version": base.version, "deadline": deadline})
        case Identity(epoch=epoch):
            return replace(seen, more={**more, "epoch": epoch})
        case Receipt(window=window, update=update, outcome=outcome):
            told = replace(seen, window=window, update=update.hex()[:16])
            return replace(told, more={**more, **_outcome(outcome)})
        case _:
            return seen


def _outcome(outcome: Counted | Refused | Abandoned) -> dict[str, Any]:
    match outcome:
        case Counted(release=version, weight=weight):
            return {"outcome": "counted", "release": version, "weight": weight}
        case Refused(reason=reason):
            return {"outcome": "refused", "reason": reason}
        case Abandoned():
            return {"outcome": "abandoned"}


def _probe(seen: Seen, body: bytes, keys: Keys) -> Seen:
    """The sealed header of an update, alone."""
    envelope = unseal(body)
    message = decode(envelope.header, Update, MOST_HEADER)
    told = replace(seen, window=message.window, update=envelope.id.hex()[:16])
    return replace(told, more={"payload": message.payload.size}, genuine=_is_genuine(envelope, keys))


def _hint(seen: Seen, hint: Hint) -> Seen:
    """What a probe was answered; nobody has signed it."""
    told = replace(seen, update=hint.update.hex()[:16])
    if not isinstance(hint, Want):
        return replace(told, more={**seen.more, "parts": "held"})
    runs = (f"{run.first}-{run.first + run.count - 1}" if run.count > 1 else str(run.first) for run in hint.parts)
    return replace(told, more={**seen.more, "wanted": " ".join(runs)})


def _update(seen: Seen, body: bytes, keys: Keys) -> Seen:
    """A part of an update: the first is signed, the others are bound to it by its id."""
    part = parts.read(body)
    if isinstance(part, Later):
        return replace(seen, update=part.id.hex()[:16], more={"part": part.index, "chunk": len(part.chunk)})
    envelope = part.envelope
    message = decode(envelope.header, Update, MOST_HEADER)
    more = {"part": 0, "of": parts.count(message.payload.size), "payload": message.payload.size}
    told = replace(seen, window=message.window, update=envelope.id.hex()[:16], more=more)
    return replace(told, genuine=_is_genuine(envelope, keys))


def _is_genuine(envelope: Envelope, keys: Keys) -> bool | None:
    """Whether the key that it names has signed it; None if that key is not known here."""
    key = keys.get(envelope.key_id)
    if key is None:
        return None
    try:
        envelope.verify(key)
    except Forged:
        return False
    return True


def _release(seen: Seen, body: bytes, keys: Keys, federation: str) -> Seen:
    signed = manifest.from_cloud_event(body)
    named = [key for identity, key in keys.items() if identity.hex().encode() in signed]
    if not named:
        return seen
    try:
        said = manifest.authentic(signed, named, federation)
    except Forged:
        return replace(seen, genuine=False)
    more = {"version": said.version, "members": said.members, "model": said.model.size}
    return replace(seen, genuine=True, window=said.window, more=more)


def _state(body: bytes) -> dict[str, Any]:
    try:
        return {"state": str(msgspec.json.decode(body, type=dict[str, Any]).get("state"))[:16]}
    except msgspec.MsgspecError as error:
        raise Unreadable(f"a state is a JSON object: {error}") from error
