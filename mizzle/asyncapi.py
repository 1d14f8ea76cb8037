"""The MQTT edge as an AsyncAPI 3 document: every channel of a device or an integrator, made of what speaks there.

Addresses come from `mizzle.topics`, bounds from the modules that check them, sentences from the docstrings of messages
and layouts; payloads are the JSON Schemas beside the document. `mizzle.contract` writes it.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from mizzle import blobs, envelope, manifest, parts, topics
from mizzle.envelope import Purpose
from mizzle.messages import (
    Decline,
    Enrolment,
    Held,
    Identity,
    Invitation,
    Message,
    Presence,
    Receipt,
    Update,
    Want,
)
from mizzle.topics import Up
from mizzle.vocabulary import SHARDS

Json = dict[str, Any]

SEALED: Final = "application/vnd.mizzle.sealed.v1"
"""An envelope alone; its header is a msgpack map."""

PART: Final = "application/vnd.mizzle.update-part.v1"
"""An envelope and a payload's first chunk, or one of the other chunks."""

HINT: Final = "application/vnd.mizzle.hint.v1"
"""A msgpack map alone, which nobody has signed."""

PIECE: Final = "application/vnd.mizzle.blob-piece.v1"

SESSION_EXPIRY_S: Final = 14 * 24 * 3600
KEEPALIVE_S: Final = 30
RECEIVE_MAXIMUM: Final = 100

_FEDERATION, _DEVICE, _SHARD = "{federation}", "{device}", "{shard}"
_BINDING: Final = "0.2.0"  # of the MQTT bindings of AsyncAPI


@dataclass(frozen=True)
class Said:
    """A kind of sealed message: who says it, on which channel, for which purpose, and what answers it."""

    kind: str
    message: type[Message]
    purpose: Purpose
    by: Literal["device", "federation"]
    retain: bool = False
    answer: str | None = None

    @property
    def address(self) -> str:
        """Its topic, with names in braces."""
        return _up(self.kind) if self.by == "device" else topics.to(_FEDERATION, _DEVICE, self.kind)


SAID: Final = (
    Said(Up.ENROL, Enrolment, Purpose.ENROLMENT, "device", answer="identity"),
    Said(Up.PRESENCE, Presence, Purpose.PRESENCE, "device", retain=True),
    Said(Up.DECLINE, Decline, Purpose.DECLINE, "device"),
    Said(Up.UPDATE, Update, Purpose.UPDATE, "device", answer="receipt"),
    Said("identity", Identity, Purpose.IDENTITY, "federation"),
    Said("invitation", Invitation, Purpose.INVITATION, "federation"),
    Said("receipt", Receipt, Purpose.RECEIPT, "federation"),
)
"""Everything that is sealed, in the order of a device's life."""


def document(version: str) -> Json:
    """The whole document; `version` is the contract's own."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Mizzle, the MQTT edge",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": SEALED,
        "servers": {"broker": _broker()},
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages(), "parameters": _PARAMETERS, "schemas": _schemas()},
    }


_ABOUT: Final = """\
What crosses the broker between a federation and its devices and integrators. README.md beside this file tells a
device's life step by step; this document says where each message goes. Operations are a client's: `send` is what it
publishes, `receive` what it subscribes to; their tags say whose they are. Everything goes at QoS 1. A PUBACK promises
nothing: only a receipt ends an update. The content types are names for the layouts; of all messages only the release
event carries its own as an MQTT 5 property.
"""


def _broker() -> Json:
    will = {
        "topic": _up(Up.PRESENCE),
        "qos": 1,
        "retain": True,
        "message": "a sealed presence with online = false; a device that has no identity yet has no last will",
    }
    return {
        "host": "{host}:{port}",
        "protocol": "mqtt",
        "protocolVersion": "5.0",
        "description": "MQTT 5. Client id, user name and device id are one and the same name.",
        "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "1883"}},
        "bindings": {
            "mqtt": {
                "clientId": _DEVICE,
                "cleanSession": False,
                "keepAlive": KEEPALIVE_S,
                "sessionExpiryInterval": SESSION_EXPIRY_S,
                "lastWill": will,
                "bindingVersion": _BINDING,
            }
        },
    }


_PROBE: Final = "The sealed header of an update alone, the very bytes that begin its first part: what became of it?"


def _channels() -> Json:
    sealed = {said.kind: _channel(said.address, _names(said), _sentences(said)) for said in SAID}
    return {
        **sealed,
        "probe": _channel(_up(Up.PROBE), ("probe",), _PROBE),
        "want": _channel(
            topics.to(_FEDERATION, _DEVICE, "want"), ("held", "want"), "What a probe is answered without a receipt."
        ),
        "release": _channel(topics.release(_FEDERATION), ("release",), "The newest release, retained."),
        "blob": _channel(
            topics.blob(_FEDERATION, bytes(32), 0).replace(f"{'00' * 32}/0", "{digest}/{index}"),
            ("piece",),
            "Plans, models and signed manifests, by digest, in retained pieces; all of one blob: {index} = +.",
        ),
        "state": _channel(topics.state(_FEDERATION), ("state",), "Whether the gateway is there, retained."),
    }


def _channel(address: str, messages: tuple[str, ...], description: str) -> Json:
    named = [name for name in _PARAMETERS if f"{{{name}}}" in address]
    return {
        "address": address,
        "description": description,
        "messages": {name: _ref("components", "messages", name) for name in messages},
        "parameters": {name: _ref("components", "parameters", name) for name in named},
    }


def _operations() -> Json:
    sealed = {_verb(said): _sealed_operation(said) for said in SAID}
    return {
        **sealed,
        "probeUpdate": {
            **_operation("send", "probe", "Ask what became of an update.", ("device",), retain=False),
            "reply": {"channel": _ref("channels", "want"), "messages": _hints()},
        },
        "hearHint": _operation("receive", "want", "Hear which parts are missing.", ("device",), retain=False),
        "fetchBlob": _operation("receive", "blob", "Fetch what a digest names.", ("device", "integrator"), retain=True),
        "followReleases": _operation("receive", "release", "Hear of each release.", ("integrator",), retain=True),
        "watchGateway": _operation("receive", "state", "See whether the gateway is there.", ("device",), retain=True),
    }


def _verb(said: Said) -> str:
    return ("say" if said.by == "device" else "hear") + said.message.__name__


def _sealed_operation(said: Said) -> Json:
    action: Literal["send", "receive"] = "send" if said.by == "device" else "receive"
    whose = "the device's own key" if said.by == "device" else f"the federation's {_role(said)} key"
    summary = f"Sealed with {whose} for purpose {said.purpose.name.lower()} ({int(said.purpose)})."
    operation = _operation(action, said.kind, summary, ("device",), retain=said.retain)
    if said.answer is None:
        return operation
    answers = [_ref("channels", said.answer, "messages", said.answer)]
    return {**operation, "reply": {"channel": _ref("channels", said.answer), "messages": answers}}


def _operation(
    action: Literal["send", "receive"], channel: str, summary: str, tags: tuple[str, ...], *, retain: bool
) -> Json:
    return {
        "action": action,
        "channel": _ref("channels", channel),
        "summary": summary,
        "tags": [{"name": tag} for tag in tags],
        "bindings": {"mqtt": {"qos": 1, "retain": retain, "bindingVersion": _BINDING}},
    }


def _role(said: Said) -> str:
    """The role of the key that seals what the federation says (README, "Whom a device believes")."""
    return "invitation" if said.purpose is Purpose.INVITATION else "receipt"


def _sentences(said: Said) -> str:
    return inspect.cleandoc(said.message.__doc__ or "")


def _names(said: Said) -> tuple[str, ...]:
    return ("update", "laterPart") if said.message is Update else (said.kind,)


def _messages() -> Json:
    sealed = {said.kind: _sealed_message(said) for said in SAID}
    return {
        **sealed,
        "laterPart": _binary("A chunk after an update's first.", PART, parts.__doc__, parts.CHUNK + parts.LATER),
        "probe": {
            "name": "update.v1",
            "title": "Probe",
            "summary": _PROBE,
            "contentType": SEALED,
            "payload": {"$ref": "./json/update.v1.json"},
        },
        "held": _hint(Held),
        "want": _hint(Want),
        "piece": _binary("A piece of a blob.", PIECE, blobs.__doc__, blobs.PIECE + blobs.PREFIX),
        "release": {
            "name": manifest.EVENT_TYPE,
            "title": "ReleaseEvent",
            "summary": "A CloudEvent 1.0 in structured JSON, whose data is a signed manifest.",
            "contentType": manifest.EVENT_CONTENT_TYPE,
            "bindings": {"mqtt": {"contentType": manifest.EVENT_CONTENT_TYPE, "bindingVersion": _BINDING}},
            "payload": _ref("components", "schemas", "ReleaseEvent"),
        },
        "state": {
            "name": "state",
            "title": "State",
            "summary": "`online` means heard: what is published is taken. The gateway's last will says `offline`.",
            "contentType": "application/json",
            "payload": _ref("components", "schemas", "State"),
        },
    }


def _sealed_message(said: Said) -> Json:
    tag = str(said.message.__struct_config__.tag)
    layout = f"{inspect.cleandoc(parts.__doc__ or '')}\n\n" if said.message is Update else ""
    return {
        "name": tag,
        "title": said.message.__name__,
        "summary": _sentences(said).partition("\n")[0],
        "description": layout + inspect.cleandoc(envelope.__doc__ or ""),
        "contentType": PART if said.message is Update else SEALED,
        "payload": {"$ref": f"./json/{tag}.json"},
    }


def _hint(message: type[Message]) -> Json:
    tag, sentences = str(message.__struct_config__.tag), inspect.cleandoc(message.__doc__ or "")
    return {
        "name": tag,
        "title": message.__name__,
        "summary": sentences.partition("\n")[0],
        "description": sentences,
        "contentType": HINT,
        "payload": {"$ref": f"./json/{tag}.json"},
    }


def _hints() -> list[Json]:
    return [_ref("channels", "want", "messages", name) for name in ("held", "want")]


def _binary(summary: str, content_type: str, layout: str | None, most: int) -> Json:
    return {
        "summary": summary,
        "description": inspect.cleandoc(layout or ""),
        "contentType": content_type,
        "payload": {"type": "string", "format": "binary", "maxLength": most},
    }


def _schemas() -> Json:
    _, found = msgspec.json.schema_components([manifest.ReleaseEvent], ref_template="#/components/schemas/{name}")
    for schema in found.values():
        schema["description"] = inspect.cleandoc(schema["description"])
    event = found["ReleaseEvent"]
    event["properties"] |= _ATTRIBUTES
    event["required"] = [*event["required"], *_ATTRIBUTES]
    state = {
        "type": "object",
        "properties": {
            "gateway": {"type": "string", "description": "which life of the gateway; empty in its last will"},
            "state": {"enum": ["online", "joining", "offline"]},
            "at": {
                "type": "integer",
                "description": "the server's clock in ms since 1970, but in its last will",
            },
        },
        "required": ["gateway", "state"],
        "additionalProperties": False,
    }
    files = {name: {"$ref": f"./json/{name}.json"} for name in ("manifest", "plan")}
    return {**found, "State": state, **files}


_ATTRIBUTES: Final[Json] = {
    "id": {"type": "string", "description": "federation/version"},
    "source": {"type": "string", "format": "uri-reference", "description": "urn:mizzle:federation"},
    "subject": {"type": "string", "description": "release/version"},
    "time": {"type": "string", "format": "date-time", "description": "when the manifest was issued"},
    "datacontenttype": {"const": "application/json"},
}
"""The attributes that the gateway writes and that no reader may rely on: only `data` is signed."""

_PARAMETERS: Final[Json] = {
    "federation": {"description": "The federation's name: 1 to 64 of A-Z a-z 0-9 _ -."},
    "shard": {"description": f"The first byte of SHA-256(device), mod {SHARDS}, in decimal."},
    "device": {"description": "The device's name: 1 to 64 of A-Z a-z 0-9 _ -."},
    "digest": {"description": "SHA-256 of the blob, 64 lower-case hexadecimal digits."},
    "index": {"description": "The piece's place, from 0, in decimal."},
}


def _up(kind: str) -> str:
    """Where a device publishes, the shard in braces too."""
    return topics.up(_FEDERATION, _DEVICE, Up(kind)).replace(f"/{topics.shard(_DEVICE)}/", f"/{_SHARD}/")


def _ref(*path: str) -> Json:
    return {"$ref": f"#/{'/'.join(path)}"}
