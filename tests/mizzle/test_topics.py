"""Topics say who speaks; what is built is parsed back, and nothing else is."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizzle import topics
from mizzle.errors import Unreadable
from mizzle.topics import Keyspace, Up, UpTopic
from mizzle.vocabulary import SHARDS
from tests.mizzle.some import NAMES

DIGESTS = st.binary(min_size=32, max_size=32)
MOST_BYTES = 200
MOST_SLASHES = 6


def every_topic(federation: str, device: str, digest: bytes, index: int) -> list[str]:
    return [
        *(topics.up(federation, device, kind) for kind in Up),
        topics.to(federation, device, "invitation"),
        topics.release(federation),
        topics.blob(federation, digest, index),
        topics.state(federation),
    ]


@given(NAMES, NAMES, DIGESTS, st.integers(0, 100_000))
def test_every_topic_fits_every_broker(federation: str, device: str, digest: bytes, index: int) -> None:
    for topic in every_topic(federation, device, digest, index):
        assert topic.count("/") <= MOST_SLASHES
        assert len(topic.encode()) <= MOST_BYTES
        assert all(re.fullmatch(r"[A-Za-z0-9_-]+", level) for level in topic.split("/"))


@given(NAMES, NAMES, st.sampled_from(Up))
def test_what_a_device_publishes_on_says_who_it_is(federation: str, device: str, kind: Up) -> None:
    assert topics.parse_up(topics.up(federation, device, kind)) == UpTopic(federation, device, kind)


@given(NAMES, st.integers(0, SHARDS - 1))
def test_another_shard_than_its_own_is_refused(device: str, shard: int) -> None:
    topic = f"mz/1/watch-har/up/{shard}/{device}/update"
    if shard == topics.shard(device):
        topics.parse_up(topic)
    else:
        with pytest.raises(Unreadable, match="SHARD the device's own"):
            topics.parse_up(topic)


@given(NAMES, DIGESTS, st.integers(0, 9_999_999))
def test_a_piece_is_found_by_its_topic(federation: str, digest: bytes, index: int) -> None:
    assert topics.parse_blob(topics.blob(federation, digest, index)) == (digest, index)


@pytest.mark.parametrize(
    "changed",
    [
        lambda topic: topic + "\n",
        lambda topic: "/" + topic,
        lambda topic: topic + "/",
        lambda topic: topic.replace("mz/1", "mz/2"),
        lambda topic: topic.replace("watch-har", "watch/har"),
        lambda topic: topic.replace("watch-har", ""),
        lambda topic: topic.replace("watch-har", "+"),
        lambda topic: topic.replace("watch-har", "w" * 65),
        lambda topic: topic.replace("watch-har", "wätch"),
    ],
)
def test_a_topic_that_is_not_quite_one_of_ours_is_refused(changed: Callable[[str], str]) -> None:
    with pytest.raises(Unreadable):
        topics.parse_up(changed(topics.up("watch-har", "pump-7", Up.UPDATE)))
    assert topics.parse_blob(changed(topics.blob("watch-har", bytes(32), 0))) is None


@given(st.text(max_size=60))
def test_other_topics_are_nobodys(topic: str) -> None:
    with pytest.raises(Unreadable):
        topics.parse_up(topic)
    assert topics.parse_blob(topic) is None


@pytest.mark.parametrize("kind", ["identity", "receipt", "Update", ""])
def test_a_kind_that_no_device_publishes_is_refused(kind: str) -> None:
    with pytest.raises(Unreadable):
        topics.parse_up(topics.up("watch-har", "pump-7", Up.UPDATE).replace("update", kind))


def test_a_shard_has_one_spelling() -> None:
    """Else one device could publish the same thing on two topics."""
    device = next(f"pump-{n}" for n in range(1000) if topics.shard(f"pump-{n}") < 10)
    topic = topics.up("watch-har", device, Up.UPDATE)
    with pytest.raises(Unreadable):
        topics.parse_up(topic.replace("/up/", "/up/0"))


def test_devices_spread_over_all_shards() -> None:
    assert {topics.shard(f"pump-{number}") for number in range(1000)} == set(range(SHARDS))


def test_filters_match_what_they_are_for() -> None:
    assert topics.every_up("f") == re.sub(r"/up/.*", "/up/+/+/+", topics.up("f", "pump-7", Up.UPDATE))
    assert topics.every_to("f", "pump-7") == topics.to("f", "pump-7", "+")
    assert topics.every_piece("f", bytes(32)) == topics.blob("f", bytes(32), 0).removesuffix("0") + "+"


def test_all_keys_of_a_partition_share_one_hash_tag_and_no_two_are_the_same() -> None:
    spaces = [Keyspace("ledger", "watch-har"), Keyspace("ledger", "watch-har", 1), Keyspace("other", "watch-har")]
    for space in spaces:
        keys = [space.stream("received"), space.place("gateway"), space.pulse("gateway")]
        assert [re.findall(r"\{(.*?)\}", key) for key in keys] == [[space.prefix[4:-1]]] * 3
        assert len(set(keys)) == 3
    assert len({space.prefix for space in spaces}) == 3
