"""Envelopes and manifests, by golden bytes that somebody else wrote."""

from typing import Final

import pytest

from examples.judge.envelope import is_sealed_by, opened, unpacked
from examples.judge.manifest import enveloped
from tests.examples.judge.maker import manifest, public, seal, update_id

KEY: Final = bytes.fromhex("2fc66060d2d8ce2c631f49c235b03ca1d48ca5bfa6808f8118a68b1748885318")
RECEIPT: Final = bytes.fromhex(
    "6d7a01011200009400000001000000000000002acc977c0aa5c25e2ad61cab374d62456aae4f6ae8b0ae3b667b18dfab09db6d89739bb3dc"
    "b7ce965ab4a2d3b813afcf52b6f123bba18de1086112b580a079602b5cbf5dc222f276f15e5fd5707b23800487a474797065aa7265636569"
    "70742e7631aa66656465726174696f6ea977617463682d686172a6646576696365a670756d702d37a6757064617465c420d90b2ab9a73ac0"
    "19944abfb69cf34719b37a09230e59a61d018f8fff1645a091a677696e646f7707a76f7574636f6d6582a76f7574636f6d65a96162616e64"
    "6f6e6564a677696e646f7707a26174cf000001a0c45070d2"
)


def test_a_golden_receipt_is_opened() -> None:
    sealed = opened(RECEIPT)
    assert sealed is not None
    assert (sealed.purpose, sealed.epoch, sealed.counter, sealed.after) == ("receipt", 1, 42, b"")
    assert sealed.id.hex() == "65afa6fdfd2db94d1fc9f9458cbb9d6103a1589168be0844cdfd3dee542308ef"
    assert sealed.message["outcome"] == {"outcome": "abandoned", "window": 7}
    assert is_sealed_by(sealed, KEY)


@pytest.mark.parametrize("place", [8, 12, 20, 36, 110])
def test_a_receipt_altered_anywhere_is_nobodys(place: int) -> None:
    altered = opened(RECEIPT[:place] + bytes([RECEIPT[place] ^ 1]) + RECEIPT[place + 1 :])
    assert altered is not None
    assert not is_sealed_by(altered, KEY)


@pytest.mark.parametrize("size", [0, 5, 99, len(RECEIPT) - 1])
def test_an_envelope_cut_short_is_none(size: int) -> None:
    assert opened(RECEIPT[:size]) is None


def test_what_follows_an_envelope_is_the_chunk() -> None:
    sealed = opened(seal("pump-1", "update", {"window": 1}) + b"payload")
    assert sealed is not None
    assert sealed.after == b"payload"
    assert is_sealed_by(sealed, public("pump-1"))


def test_an_id_is_the_hash_of_what_is_signed() -> None:
    body = seal("pump-1", "update", {"window": 1})
    sealed = opened(body)
    assert sealed is not None
    assert sealed.id == update_id(body)


@pytest.mark.parametrize("header", [b"", b"\x90", b"\x82\xa1a\x01\xa1a\x02", b"\xc1", b"\x80\x80", b"\xd4\x01\x01"])
def test_what_is_no_map_of_names_is_no_message(header: bytes) -> None:
    assert unpacked(header) == {}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"payload":1}', b'{"a":1,"a":1}', b"\xff"])
def test_what_is_no_envelope_of_a_release_is_none(body: bytes) -> None:
    assert enveloped(body) is None


def test_a_manifest_is_read_from_its_envelope() -> None:
    one = enveloped(manifest({"version": 7}))
    assert one is not None
    assert one.manifest == {"version": 7}
