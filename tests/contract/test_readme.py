"""The page that strangers write devices from says the numbers, words and files that the code has."""

import dataclasses
import json
import re
import struct
from pathlib import Path

import pytest

from mizzle import asyncapi, blobs, envelope, grid, manifest, packing, parts, vocabulary
from mizzle.codec import decode_from_device, encode
from mizzle.codecs import drive
from mizzle.device.speech import ENROLMENT_RETRY_MS, UPDATE_RETRY_MS
from mizzle.device.states import Bounds
from mizzle.envelope import Purpose
from mizzle.messages import Decline
from mizzle.plan import PlugIn
from mizzle.registry import plug_in
from mizzle.terms import bound_of
from mizzle.transport import backoff
from services.gateway import allowance
from services.gateway.receive import EXPIRES_MS
from tests.contract.test_vectors import VECTORS
from tests.services.plans import plan

PAGE = (VECTORS.parent / "README.md").read_text()
SERVICES = Path(__file__).parents[2] / "services"


def test_every_number_of_the_table_is_the_codes() -> None:
    wanted = {
        "shards": vocabulary.SHARDS,
        "envelope, bytes before the header": envelope.FIXED,
        "header, at most": envelope.MOST_HEADER,
        "chunk of a payload": parts.CHUNK,
        "bytes before a later chunk": parts.LATER,
        "piece of a blob": blobs.PIECE,
        "bytes before a piece": blobs.PREFIX,
        "session expiry, s": asyncapi.SESSION_EXPIRY_S,
        "keep-alive, s": asyncapi.KEEPALIVE_S,
        "receive maximum": asyncapi.RECEIVE_MAXIMUM,
        "span of a reconnection, ms": f"{1000 * backoff.SHORTEST_S:.0f} to {1000 * backoff.LONGEST_S:.0f}",
        "enrolment again after, ms": " to ".join(map(str, ENROLMENT_RETRY_MS)),
        "update again after, ms": " to ".join(map(str, UPDATE_RETRY_MS)),
        "runs in a want, at most": vocabulary.MOST_RUNS,
        "messages of a device at once, at most": allowance.AT_ONCE,
        "messages of a device a second after that, at most": allowance.A_SECOND,
        "updates in an outbox, at most": Bounds().updates,
        "bytes in an outbox, at most": Bounds().size,
        "gateway forgets a half update after, ms": EXPIRES_MS,
        "units in a clip, at least": 2**21,
        "block sizes": ", ".join(map(str, grid.SIDES)),
        "multiplier, at most": grid.MULTIPLIER_MAX,
        "full weight": vocabulary.FULL_WEIGHT,
        "manifest, at most": manifest.MOST_BYTES,
        "event, at most": manifest.MOST_EVENT,
    }
    table = PAGE.partition("## 13. Numbers")[2].partition("|---|---|\n")[2]
    rows = dict(re.findall(r"^\| (.+) \| (.+) \|$", table, re.MULTILINE))
    assert rows == {what: str(number) for what, number in wanted.items()}


@pytest.mark.parametrize("purpose", Purpose)
def test_every_purpose_is_named_with_its_number(purpose: Purpose) -> None:
    assert f"{int(purpose)} `{purpose.name.lower()}`" in " ".join(PAGE.split())


def test_every_vector_that_is_named_is_there() -> None:
    named = re.findall(r"`(?:vectors/(?P<side>good|bad)/)?([a-z0-9*-]+\.json)`", PAGE)
    assert len(named) > 20
    for side, name in named:
        assert list((VECTORS / (side or "good")).glob(name)), name


def test_every_reason_for_a_refusal_is_named() -> None:
    files = (SERVICES / "privacy_accountant", SERVICES / "gateway")
    text = "".join(path.read_text() for folder in files for path in folder.glob("*.py"))
    reasons = set(re.findall(r'(?:Refuse\(|page\.refuse\(row, |reason=)\s*"([a-z-]+)"', text))
    # These two are the gateway's words for what no enrolled key speaks for: no receipt bears them.
    receipts = reasons - set(re.findall(r'_unauthenticated\([^"]*"([a-z-]+)"', text))
    assert {"second", "late", "budget", "oversized"} <= receipts
    assert [reason for reason in sorted(receipts) if f"`{reason}`" not in PAGE] == []


def test_the_envelope_of_the_table_is_the_vectors() -> None:
    sealed = bytes.fromhex(re.findall(r'"envelope_hex": "([0-9a-f]+)"', (VECTORS / "good/decline.json").read_text())[0])
    rows = re.findall(r"^\| (\d+) \| ([\d…]+) \| .* \| `([0-9a-f]+)(?:…([0-9a-f]*))?` \|$", PAGE, re.MULTILINE)
    assert [int(offset) for offset, *_ in rows] == [0, 2, 3, 4, 5, 6, 8, 12, 20, 36, 100]
    for offset, size, begins, ends in rows:
        part = sealed[int(offset) :][: None if size == "…" else int(size)].hex()
        assert part.startswith(begins)
        assert part.endswith(ends)
        assert ends or size == "…" or part == begins


def test_the_worked_payload_is_the_vectors() -> None:
    payload = re.findall(r'"payload_hex": "([0-9a-f]+)"', (VECTORS / "good/payload-4-bits.json").read_text())[0]
    (shown,) = re.findall(r"The payload begins `([0-9a-f ]+)`", PAGE)
    assert payload.startswith(shown.replace(" ", ""))
    assert struct.unpack_from("<I", bytes.fromhex(payload)) == (15_292,)


def test_a_word_that_the_page_offers_for_a_decline_is_one() -> None:
    told = PAGE.partition("these are usual:")[2].partition("\n\n")[0]
    words = re.findall(r"`([a-z-]+)`", told)
    assert len(words) == 12
    for word in words:
        said = Decline(federation="f", device="d", window=1, reason=word)
        assert decode_from_device(encode(said)) == said


def test_every_codec_has_a_row_with_its_fields_and_their_defaults() -> None:
    table = PAGE.partition("| `codec.name` |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `([a-z]+)` \| (.+?) \|", table, re.MULTILINE))
    assert set(rows) == {path.stem for path in Path(drive.__file__).parent.glob("[a-z]*.py")}
    for name, told in rows.items():
        fields = dataclasses.fields(plug_in("mizzle.codecs", PlugIn(name=name)))
        defaults = re.findall(r"`(\w+)`[^`]*? ?\(([a-z0-9.]+)\)", told)
        assert defaults == [(field.name, json.dumps(field.default)) for field in fields]
    assert f"|yᵢ| > {drive._OUTER}·√" in PAGE
    assert f"looks back at most {packing.MOST_WINDOW // 2**20} MiB" in PAGE


def test_the_least_clip_is_that_of_a_plan() -> None:
    assert bound_of(plan()) == 2**21
