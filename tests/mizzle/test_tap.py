"""What the tap makes of each message, and that it never shows what is in one."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from mizzle import blobs, topics
from mizzle.codec import encode
from mizzle.envelope import Key, Purpose, unseal
from mizzle.messages import Held, Refused, Run, Want
from mizzle.tap import GATEWAY, Keys, Seen, keys_of, see
from mizzle.topics import Up
from mizzle.transport.bus import Arrived
from services.local.broker import Broker
from tests.lives import CHECKOUT
from tests.mizzle.device.federation import Federation
from tests.mqtt import Peer
from tests.services.gateway.devices import Device

BARN, PUMP = Federation(), Device()
PAYLOAD = bytes(range(256)) * 400  # longer than a chunk
THEIRS = keys_of([PUMP.key.public_key, BARN.receipt_key.public_key, BARN.invitation_key.public_key])
NOBODYS: Keys = {}


def seen(topic: str, body: bytes, keys: Keys = THEIRS, *, retained: bool = False) -> Seen:
    return see(Arrived(topic, body, retained), keys, BARN.name)[0]


def test_an_update_is_shown_by_its_header_and_its_sizes() -> None:
    first, second = PUMP.parts(PAYLOAD, window=3)
    topic = PUMP.topic(Up.UPDATE)
    told = seen(topic, first)
    assert told.update is not None
    more = {"part": 0, "of": 2, "payload": len(PAYLOAD)}
    wanted = Seen(topic, "update", "pump-7", len(first), retained=False, genuine=True, window=3, more=more)
    assert replace(told, update=None) == wanted
    later = seen(topic, second)
    assert (later.update, later.genuine, later.more) == (told.update, None, {"part": 1, "chunk": len(PAYLOAD) - 98_304})


def test_a_key_that_is_not_known_verifies_nothing_and_a_wrong_signature_is_forged() -> None:
    body = PUMP.parts(b"levels")[0]
    assert seen(PUMP.topic(Up.UPDATE), body, NOBODYS).genuine is None
    altered = body[:40] + bytes([body[40] ^ 1]) + body[41:]
    assert seen(PUMP.topic(Up.UPDATE), altered).genuine is False


def test_what_a_device_is_told_is_shown_with_whom_it_is_for() -> None:
    receipt = BARN.receipt("pump-7", bytes(32), Refused(reason="norm", why="its norm is 20 times the bound"))
    told = seen(topics.to(BARN.name, "pump-7", "receipt"), receipt)
    assert (told.sender, told.window, told.update, told.genuine) == (GATEWAY, 1, "0" * 16, True)
    assert told.more == {"to": "pump-7", "outcome": "refused", "reason": "norm"}
    invited = seen(topics.to(BARN.name, "pump-7", "invitation"), BARN.invitation("pump-7", 4))
    assert (invited.kind, invited.window, invited.more["version"], invited.genuine) == ("invitation", 4, 0, True)


def test_a_probe_is_shown_by_its_header_and_a_hint_by_what_it_names() -> None:
    first, _ = PUMP.parts(PAYLOAD, window=3)
    header = first[: unseal(first).size]
    asked = seen(PUMP.topic(Up.PROBE), header)
    more = {"payload": len(PAYLOAD)}
    assert (asked.kind, asked.window, asked.genuine, asked.more) == ("probe", 3, True, more)
    topic = topics.to(BARN.name, "pump-7", "want")
    runs = (Run(first=2, count=1), Run(first=5, count=3))
    wanted, held = (seen(topic, encode(one)) for one in (Want(update=bytes(32), parts=runs), Held(update=bytes(32))))
    assert (wanted.kind, wanted.update, wanted.genuine) == ("want", "0" * 16, None)
    assert (wanted.more, held.more) == ({"to": "pump-7", "wanted": "2 5-7"}, {"to": "pump-7", "parts": "held"})
    assert seen(topic, b"x").fault


def test_a_genuine_identity_brings_the_keys_it_names() -> None:
    told = Arrived(topics.to(BARN.name, "pump-7", "identity"), BARN.identity("pump-7", PUMP.key.public_key))
    shown, learned = see(told, keys_of([BARN.receipt_key.public_key]), BARN.name)
    assert (shown.genuine, learned) == (True, THEIRS)
    forged = Arrived(told.topic, BARN.identity("pump-7", PUMP.key.public_key, key=Key(b"F" * 32)))
    assert see(forged, NOBODYS, BARN.name)[1] == NOBODYS


def test_an_enrolment_is_checked_with_the_key_that_it_brings() -> None:
    body = PUMP.sealed(PUMP.enrolment(), Purpose.ENROLMENT)
    assert see(Arrived(PUMP.topic(Up.ENROL), body), NOBODYS, BARN.name) == (
        Seen(PUMP.topic(Up.ENROL), "enrol", "pump-7", len(body), retained=False, genuine=True),
        NOBODYS,
    )


def test_presence_tells_that_a_device_is_there_and_not_what_it_has() -> None:
    told = seen(PUMP.topic(Up.PRESENCE), PUMP.sealed(PUMP.presence(), Purpose.PRESENCE), retained=True)
    assert (told.genuine, told.more, told.retained) == (True, {"online": True}, True)


@pytest.mark.parametrize(
    ("topic", "body", "kind", "fault"),
    [
        (PUMP.topic(Up.PRESENCE), b"boo", "presence", "an envelope is at least 100 bytes long, got 3"),
        (PUMP.topic(Up.UPDATE), b"", "update", "an envelope is at least 100 bytes long, got 0"),
        (topics.state(BARN.name), b"{", "state", "a state is a JSON object"),
        (topics.release(BARN.name), b"{}", "release", ""),
        ("mz/1/barn/elsewhere", b"", "unknown", "no topic of ours"),
        ("mz/1/barn/up/1/pump-7/update", b"", "unknown", "no topic of ours"),
    ],
)
def test_what_is_no_message_of_ours_is_shown_with_what_is_wrong(topic: str, body: bytes, kind: str, fault: str) -> None:
    told = seen(topic, body)
    assert (told.kind, told.size) == (kind, len(body))
    assert told.fault.startswith(fault)
    assert told.fault


def test_pieces_and_states_are_named() -> None:
    (piece,) = blobs.pieces(b"model")
    told = seen(topics.blob(BARN.name, bytes(32), 0), piece, retained=True)
    assert (told.kind, told.more) == ("blob", {"digest": "0" * 16, "piece": 0})
    assert seen(topics.state(BARN.name), b'{"state": "online"}').more == {"state": "online"}


def test_a_line_for_people_says_who_what_and_whether_it_is_genuine() -> None:
    told = Seen("t", "update", "pump-7", 512, retained=False, genuine=False, window=3, update="ab", more={"part": 0})
    assert told.line == "update     pump-7               512 B  FORGED      window 3, update ab, part 0"


def test_a_line_does_nothing_to_a_terminal() -> None:
    """A device may write anything, and what is wrong with it is shown in its own words."""
    forged = "\x1b[2J\x1b]0;mine\x07\nFORGED LINE \u202e\x9b"
    seen, _ = see(Arrived(topics.up("barn", "pump-1", Up.UPDATE), b""), {}, "barn")
    line = replace(seen, fault=forged).line
    assert line.isprintable()
    assert r"\x1b[2J\x1b]0;mine\x07\nFORGED LINE \u202e\x9b" in line


def test_the_command_shows_an_update_on_a_real_broker_and_none_of_its_payload(
    mosquitto: Broker, federation: str
) -> None:
    pump = replace(PUMP, federation=federation)
    url, key = f"mqtt://{mosquitto.host}:{mosquitto.port}", pump.key.public_key.hex()
    words = ("tap", federation, "--broker", url, "--as", "gateway", "--key", key, "--count", "2", "--json")
    argv = [sys.executable, "-m", "mizzle.cli", *words]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tap:
        assert tap.stderr
        assert tap.stdout
        assert tap.stderr.readline().startswith(b"listening to")
        with Peer(mosquitto.port, "pump-7") as peer:
            for part in pump.parts(PAYLOAD, window=5):
                peer.publish(pump.topic(Up.UPDATE), part)
        text = tap.stdout.read()
        assert tap.wait(10) == 0
    first, later = [json.loads(line) for line in text.splitlines()]
    assert (first["sender"], first["window"], first["genuine"]) == ("pump-7", 5, True)
    assert first["update"] == later["update"]
    assert len(text) < 1000


def test_a_device_hears_by_the_tap_what_it_may_hear_and_nothing_else(mosquitto: Broker, federation: str) -> None:
    """The command has no rights of its own: the broker leaves out what the name may not hear."""
    pump = replace(PUMP, federation=federation)
    url = f"mqtt://{mosquitto.host}:{mosquitto.port}"
    words = ("tap", federation, "--broker", url, "--as", "pump-8", "--count", "1", "--json")
    argv = [sys.executable, "-m", "mizzle.cli", *words]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tap:
        assert tap.stderr
        assert tap.stdout
        assert tap.stderr.readline().startswith(b"listening to")
        with Peer(mosquitto.port, "pump-7") as peer, Peer(mosquitto.port, "gateway") as gateway:
            peer.publish(pump.topic(Up.UPDATE), pump.parts(b"levels")[0])
            gateway.publish(topics.to(federation, "pump-7", "receipt"), b"for another")
            gateway.publish(topics.state(federation), b'{"state": "online"}')
        (line,) = tap.stdout.read().splitlines()
    assert json.loads(line)["kind"] == "state"
