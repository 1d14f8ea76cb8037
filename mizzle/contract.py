"""The contract as JSON Schemas, made of the messages, the plan and the manifest: `python -m mizzle.contract schemas/`.

Every bound and every sentence in them is said once, in `mizzle.vocabulary` and the docstrings; nobody edits the files.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from mizzle.manifest import Manifest
from mizzle.messages import BetweenServices, FromDevice, Message, ToDevice
from mizzle.plan import Plan

WIRE: Final = (
    "This schema describes the JSON view of the message, in which bytes are base64 text. On the wire the message is a "
    "msgpack map with its fields in this order, `type` first, and bytes are msgpack bin."
)
PLAN: Final = (
    "This schema describes the canonical JSON of the plan, keys sorted and no spaces, in which bytes are base64 text. "
    "The plan travels as that and never as msgpack, where bytes are bin on the wire; plan.toml is the same for people."
)
MANIFEST: Final = (
    "This schema describes the payload of the signed manifest (DSSE): its digests are hexadecimal text. Payload and "
    "signature are base64 text. It travels as JSON and never as msgpack, where bytes are bin on the wire."
)


def json_schemas() -> dict[str, bytes]:
    """Each generated file below `schemas/`, by name: one for every message, one for the plan, one for the manifest."""
    messages = {f"json/{tag(kind)}.json": _schema(kind, tag(kind), WIRE) for kind in messages_of_all()}
    return {
        **messages,
        "json/plan.json": _schema(Plan, "plan", PLAN),
        "json/manifest.json": _schema(Manifest, "manifest", MANIFEST),
    }


def messages_of_all() -> list[type[Message]]:
    """Every message that crosses the broker or a stream, in the order it flows."""
    unions = (FromDevice, ToDevice, BetweenServices)
    return list(dict.fromkeys(kind for union in unions for kind in get_args(union)))


def tag(kind: type[Message]) -> str:
    """What a message's `type` says, its version included."""
    return str(kind.__struct_config__.tag)


def _schema(kind: type[Struct], name: str, note: str) -> bytes:
    (reference,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for part in parts.values():  # Python 3.13 strips a docstring's indentation, older ones keep it
        part["description"] = inspect.cleandoc(part["description"])
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:mizzle:schema:{name}",
        "title": kind.__name__,
        "$comment": note,
        **reference,
        "$defs": parts,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False).encode() + b"\n"


def write(folder: Path) -> None:
    """Write every generated schema below `folder`, and remove the generated ones that no message has any more."""
    wanted = {folder / name: content for name, content in json_schemas().items()}
    for stale in set(folder.glob("json/*.json")) - set(wanted):
        stale.unlink()
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004  # the program's own name, and one folder
        sys.exit("usage: python -m mizzle.contract FOLDER")
    write(Path(sys.argv[1]))
