"""What a signed manifest must be before anybody believes it. The golden vectors hold more that must not pass."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizzle import manifest as rules
from mizzle.envelope import Key
from mizzle.errors import Forged, Outdated, Oversized, Unreadable
from mizzle.manifest import Manifest, ModelFile, Privacy, moment

KEY, NEXT_KEY, STRANGER = (Key(bytes([n]) * 32) for n in (1, 2, 3))
NOW = 1_790_000_000_000
DAY = 24 * 3600 * 1000

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=10,
)


def manifest(version: int = 7, **changes: Any) -> Manifest:
    made = Manifest(
        schema=1,
        federation="watch-har",
        version=version,
        window=version + 2,
        members=12,
        model=ModelFile(digest="ab" * 32, size=11_384, format="safetensors"),
        plan="cd" * 32,
        previous="ef" * 32,
        issued=moment(NOW),
        expires=moment(NOW + 7 * DAY),
        privacy=Privacy(epsilon=207.5, delta=1e-5, sentence="sixteen wrists hide nobody"),
    )
    return msgspec.structs.replace(made, **changes)


def signed(told: Manifest, key: Key = KEY) -> bytes:
    return rules.sign(told, key.sign, key.public_key)


@dataclass(frozen=True)
class Reader:
    keys: tuple[bytes, ...] = (KEY.public_key,)
    federation: str = "watch-har"
    now: int = NOW

    def reads(self, envelope: bytes) -> Manifest:
        return rules.verify(envelope, self.keys, self.federation, self.now)


def with_signatures(envelope: bytes, *signatures: Mapping[str, str]) -> bytes:
    return json.dumps({**json.loads(envelope), "signatures": list(signatures)}).encode()


def signature(envelope: bytes) -> dict[str, str]:
    found: dict[str, str] = json.loads(envelope)["signatures"][0]
    return found


def test_a_signed_manifest_is_believed() -> None:
    assert Reader().reads(signed(manifest())) == manifest()


def test_the_same_manifest_is_signed_with_the_same_bytes() -> None:
    assert signed(manifest()) == signed(manifest())


def test_signed_bytes_have_sorted_keys_and_no_spaces() -> None:
    envelope = signed(manifest())
    assert json.dumps(json.loads(envelope), sort_keys=True, separators=(",", ":")).encode() == envelope


def test_a_manifest_out_of_bounds_is_not_signed() -> None:
    with pytest.raises(Unreadable, match="version"):
        signed(manifest(version=-1))
    with pytest.raises(Unreadable, match="UTC"):
        signed(manifest(issued=datetime.fromisoformat("2026-11-24T08:00:00+02:00")))


def test_a_stranger_is_told_from_damage() -> None:
    envelope = signed(manifest(), STRANGER)
    with pytest.raises(Forged, match="a key we were not told of"):
        Reader().reads(envelope)
    claimed = {**signature(envelope), "keyid": signature(signed(manifest()))["keyid"]}
    with pytest.raises(Forged, match="an attack or damage"):
        Reader().reads(with_signatures(envelope, claimed))


def test_nobody_trusts_without_a_key() -> None:
    with pytest.raises(Forged, match="nobody"):
        Reader(keys=()).reads(signed(manifest()))


def test_one_good_signature_is_enough_while_keys_roll() -> None:
    old, new = signed(manifest()), signed(manifest(), NEXT_KEY)
    both = with_signatures(old, signature(new), signature(old))
    assert Reader().reads(both) == manifest()
    assert Reader(keys=(NEXT_KEY.public_key,)).reads(both) == manifest()
    damaged = {**signature(new), "sig": signature(old)["sig"]}
    assert (
        Reader(keys=(KEY.public_key, NEXT_KEY.public_key)).reads(with_signatures(old, damaged, signature(old)))
        == manifest()
    )


def test_another_federations_release_is_refused() -> None:
    with pytest.raises(Forged, match="'watch-har', wanted 'pumps'"):
        Reader(federation="pumps").reads(signed(manifest()))


def test_a_manifest_holds_until_its_last_millisecond() -> None:
    envelope = signed(manifest())
    assert Reader(now=NOW + 7 * DAY - 1).reads(envelope) == manifest()
    with pytest.raises(Outdated, match="release 7 expired"):
        Reader(now=NOW + 7 * DAY).reads(envelope)


def test_an_expired_manifest_is_still_authentic() -> None:
    assert rules.authentic(signed(manifest()), [KEY.public_key], "watch-har") == manifest()


def test_a_newer_release_follows_and_a_replay_is_told_from_a_roll_back() -> None:
    rules.follows(manifest(version=8), 7)
    with pytest.raises(Outdated, match="harmless"):
        rules.follows(manifest(version=7), 7)
    with pytest.raises(Outdated, match="roll-back"):
        rules.follows(manifest(version=6), 7)


def test_a_release_links_to_the_one_it_names_and_to_no_other() -> None:
    older = signed(manifest(version=6))
    newer = manifest(version=7, previous=hashlib.sha256(older).hexdigest())
    rules.links(newer, older)
    with pytest.raises(Forged, match="an attack"):
        rules.links(newer, signed(manifest(version=6, members=13)))
    with pytest.raises(Forged, match="an attack"):
        rules.links(manifest(previous=None), older)


def test_an_event_gives_the_signed_bytes_back() -> None:
    envelope = signed(manifest())
    event = rules.cloud_event("watch-har", envelope, manifest())
    assert rules.from_cloud_event(event) == envelope
    assert {name: value for name, value in json.loads(event).items() if name != "data"} == {
        "specversion": "1.0",
        "id": "watch-har/7",
        "source": "urn:mizzle:watch-har",
        "type": "io.mizzle.release.v1",
        "subject": "release/7",
        "time": "2026-09-21T14:13:20Z",
        "datacontenttype": "application/json",
    }


def test_a_bridge_may_lay_the_event_out_anew_and_add_to_it() -> None:
    envelope = signed(manifest())
    event = json.loads(rules.cloud_event("watch-har", envelope, manifest()))
    rebuilt = json.dumps({"traceparent": "00-1-2-03", **dict(reversed(event.items()))}, indent=3)
    assert rules.from_cloud_event(rebuilt.encode()) == envelope


@pytest.mark.parametrize("attribute", ["specversion", "type", "data"])
def test_an_event_of_another_kind_is_refused(attribute: str) -> None:
    event = json.loads(rules.cloud_event("watch-har", signed(manifest()), manifest()))
    with pytest.raises(Unreadable):
        rules.from_cloud_event(json.dumps({**event, attribute: "2.0"}).encode())


def test_the_longest_event_fits_where_brokers_retain_it() -> None:
    long = manifest(privacy=Privacy(epsilon=1.0, delta=1e-5, sentence="ε" * 500))
    envelope = signed(long)
    assert len(rules.cloud_event("watch-har", envelope, long)) < rules.MOST_EVENT
    with pytest.raises(Oversized):
        rules.from_cloud_event(b" " * (rules.MOST_EVENT + 1))


@given(at=st.integers(0, 3000), bit=st.integers(0, 7))
def test_a_flipped_bit_never_changes_what_is_believed(at: int, bit: int) -> None:
    """A bit that no signature covers (the padding of base64) may pass; the manifest is the same then."""
    body = bytearray(signed(manifest()))
    body[at % len(body)] ^= 1 << bit
    try:
        found = Reader().reads(bytes(body))
    except Unreadable:
        return
    assert found == manifest()


@given(st.binary(max_size=400) | JSON.map(lambda value: json.dumps(value).encode()))
def test_other_bytes_are_refused_as_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        Reader().reads(body)
    with pytest.raises(Unreadable):
        rules.from_cloud_event(body)


@given(st.sampled_from(["payloadType", "payload", "keyid", "sig"]), JSON)
def test_a_field_of_the_envelope_that_is_changed_is_refused(name: str, value: Any) -> None:
    envelope = json.loads(signed(manifest()))
    where = envelope if name in envelope else envelope["signatures"][0]
    where[name] = value
    with pytest.raises(Unreadable):
        Reader().reads(json.dumps(envelope).encode())


@pytest.mark.parametrize("letter", [r"\ud800", r"\n", r"\u001b", r"\u202e"])
def test_a_letter_that_would_spoil_a_log_is_refused(letter: str) -> None:
    event = rules.cloud_event("watch-har", signed(manifest()), manifest())
    with pytest.raises(Unreadable):
        rules.from_cloud_event(event.replace(b"application/vnd", letter.encode() + b"pplication/vnd"))


@given(st.integers(0, 2**53))
def test_an_instant_becomes_a_moment_to_the_millisecond_or_the_last_day(instant: int) -> None:
    last = datetime(9999, 12, 31, tzinfo=UTC)
    found = moment(instant)
    assert found == last or round((found - moment(0)).total_seconds() * 1000) == instant
