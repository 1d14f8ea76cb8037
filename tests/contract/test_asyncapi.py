"""The AsyncAPI document is one, by npm's own parser, and says of every channel what the code does."""

import filecmp
import json
from pathlib import Path
from typing import Any

import pytest

from mizzle import topics
from mizzle.asyncapi import KEEPALIVE_S, SAID, SESSION_EXPIRY_S, document
from mizzle.contract import VERSION
from mizzle.envelope import Purpose
from mizzle.topics import Up
from mizzle.transport.mqtt_bus import MqttBus
from services.gateway.heartbeat import _state, will
from tests.node import run_node, told

SCHEMAS = Path(__file__).parents[2] / "schemas"


BREAKS = (
    ("action: send", "action: shout"),
    ("./json/enrolment.v1.json", "./json/enrolment.v9.json"),
    ("'#/channels/update'", "'#/channels/nowhere'"),
)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What npm's libraries find in the document, and in copies of it that are each broken in one way."""
    folder, text = tmp_path_factory.mktemp("documents"), (SCHEMAS / "asyncapi.yaml").read_text()
    (folder / "json").symlink_to(SCHEMAS / "json")
    paths = [SCHEMAS / "asyncapi.yaml"]
    for right, wrong in BREAKS:
        assert right in text
        paths.append(folder / f"{len(paths)}.yaml")
        paths[-1].write_text(text.replace(right, wrong))
    return told(run_node("schemas", "check.mjs", *map(str, paths)))


def test_npms_parser_finds_no_fault_and_every_channel(checked: Any) -> None:
    found = checked["documents"][0]
    assert found["faults"] == []
    assert set(found["channels"]) == {
        *(f"mz/1/{{federation}}/up/{{shard}}/{{device}}/{kind}" for kind in Up),
        *(f"mz/1/{{federation}}/to/{{device}}/{kind}" for kind in ("identity", "invitation", "receipt", "want")),
        *(f"mz/1/{{federation}}/pub/{what}" for what in ("release", "blob/{digest}/{index}", "state")),
    }
    sends = {name for name, action in found["operations"].items() if action == "send"}
    assert sends == {"sayEnrolment", "sayPresence", "sayDecline", "sayUpdate", "probeUpdate"}


def test_npms_parser_finds_each_fault(checked: Any) -> None:
    assert [bool(found["faults"]) for found in checked["documents"]] == [False] + [True] * len(BREAKS)


def test_the_cloudevents_library_reads_what_stands_on_the_release_topic(checked: Any) -> None:
    wanted = {"id": "watch-har/7", "source": "urn:mizzle:watch-har", "type": "io.mizzle.release.v1"}
    assert checked["event"].items() >= wanted.items()


def test_the_vectors_are_made_again_to_the_byte(tmp_path: Path) -> None:
    """By npm's msgpack and Node's cryptography, without a line of ours."""
    ended = run_node("schemas", "vectors/make.mjs", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    for side in ("good", "bad"):
        there, made = SCHEMAS / "vectors" / side, tmp_path / side
        names = sorted(path.name for path in there.iterdir())
        assert sorted(path.name for path in made.iterdir()) == names
        assert filecmp.cmpfiles(there, made, names, shallow=False)[1:] == ([], [])


def test_every_purpose_is_said_by_somebody() -> None:
    assert [said.purpose for said in SAID] == list(Purpose)


def test_an_address_is_a_topic_with_names_in_braces() -> None:
    for said in SAID:
        name = said.address.format(federation="f", shard=topics.shard("pump-7"), device="pump-7")
        if said.by == "device":
            assert topics.parse_up(name) == topics.UpTopic("f", "pump-7", Up(said.kind))
        else:
            assert name == topics.to("f", "pump-7", said.kind)


def test_the_sessions_of_the_document_are_those_of_our_own_bus() -> None:
    terms = MqttBus("mqtt://127.0.0.1:1", "pump-7")._line._terms
    assert (terms.session_expiry_s, terms.keepalive_s) == (SESSION_EXPIRY_S, KEEPALIVE_S)


def test_the_gateway_says_the_states_of_the_document() -> None:
    schema = document(VERSION)["components"]["schemas"]["State"]
    said = [json.loads(body) for body in (_state("online", "one"), _state("joining", "one"), will("f").body)]
    assert all(set(schema["required"]) <= set(one) <= set(schema["properties"]) for one in said)
    assert [one["state"] for one in said] == schema["properties"]["state"]["enum"]
