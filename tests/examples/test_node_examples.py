"""The Node examples read every golden vector as Mizzle does, and believe of releases what it believes."""

import base64
import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mizzle import topics
from mizzle.blobs import pieces
from mizzle.device.enrol import broker_password
from mizzle.grid import value
from mizzle.messages import Decline, Invitation, Presence
from mizzle.payload import read
from mizzle.plan import Plan, PlugIn
from mizzle.terms import codec_of, grid_of
from mizzle.transport.mqtt_bus import MqttBus
from services.local.broker import Broker
from services.local.processes import Processes
from tests.contract.test_vectors import VECTORS
from tests.examples.node import Program, csv, device, integrator
from tests.examples.test_examples import MODEL, learned, plan
from tests.mizzle.device.federation import FAR
from tests.mizzle.device.federation import Federation as Barn
from tests.mizzle.device.gateway import Delivered, Gateway
from tests.mizzle.test_releases import KEY, STRANGER, History, model, sha256
from tests.mqtt import Peer
from tests.node import run_node, told

FOR_EVER_H = 10**9
READ = {
    "good": {
        *("sealed", "proof", "parts", "blob", "topics", "plan", "model", "release"),
        *("payload", "weighed", "proximal", "feedback", "frame"),
    },
    "bad": {"envelope", "to_device", "blob", "release"},
}
"""What a device and a reader of releases have to do with; the other bad ones are what only a gateway reads."""


def test_every_golden_vector_comes_out_and_every_bad_one_is_refused() -> None:
    found = told(run_node("examples", "../tests/examples/vectors.mjs"))
    assert found["faults"] == []
    kinds = Counter(
        f"{side} {json.loads(path.read_bytes())['kind']}" for side in READ for path in (VECTORS / side).iterdir()
    )
    wanted = {f"{side} {kind}" for side, of_side in READ.items() for kind in of_side}
    assert found["count"] == {kind: number for kind, number in kinds.items() if kind in wanted}


def test_a_device_derives_the_password_for_its_broker_as_mizzle_does() -> None:
    secret = "0123456789abcdef0123456789abcdef"  # noqa: S105  # of no token
    program = (
        f"import {{ brokerPassword }} from './node/wire.mjs'; console.log(brokerPassword({{ secret: '{secret}' }}))"
    )
    done = run_node("examples", "--input-type=module", "-e", program)
    assert done.stdout.strip() == broker_password(secret)


@dataclass
class Mirror:
    """A broker on which the gateway's words are put by hand."""

    peer: Peer
    history: History

    def put(self, version: int) -> None:
        """Put everything of a release there, the event last."""
        self.keep(self.history.manifest(version))
        self.keep(model(version))
        self.announce(self.history.event(version))

    def keep(self, blob: bytes) -> None:
        for index, piece in enumerate(pieces(blob)):
            self.peer.publish(topics.blob(self.history.federation, sha256(blob), index), piece, retain=True)

    def announce(self, event: bytes) -> None:
        self.peer.publish(topics.release(self.history.federation), event, retain=True)


def reader(children: Processes, broker: Broker, mirror: Mirror, folder: Path) -> Program:
    url, federation = f"mqtt://{broker.host}:{broker.port}", mirror.history.federation
    return integrator(children, url, federation, KEY.public_key, folder / "integrator.json")


def versions(program: Program, count: int) -> list[int]:
    return [line["version"] for line in program.wait_for(lambda lines: len(lines) >= count)]


def altered(event: bytes) -> bytes:
    """The event with another number of members under the old signature."""
    tree = json.loads(event)
    manifest = json.loads(base64.b64decode(tree["data"]["payload"]))
    tree["data"]["payload"] = base64.b64encode(json.dumps(manifest | {"members": 13}).encode()).decode()
    return json.dumps(tree).encode()


def test_a_reader_takes_a_release_and_none_that_is_altered_expired_or_a_strangers(
    children: Processes, mosquitto: Broker, federation: str, folder: Path
) -> None:
    history, stranger, past = History(federation), History(federation), History(federation)
    with Peer(mosquitto.port, "gateway", client_id="mirror") as peer:
        mirror = Mirror(peer, history)
        mirror.put(history.next(expires_h=FOR_EVER_H))
        program = reader(children, mosquitto, mirror, folder)
        assert versions(program, 1) == [1]
        assert program.lines.seen[0]["tensors"] == {"weight": [100, 200], "bias": [3]}
        mirror.announce(altered(history.event(history.next(expires_h=FOR_EVER_H))))
        program.wait_for_words("a release is refused: a forged signature")
        mirror.announce(stranger.event(stranger.next(key=STRANGER, skip=4, expires_h=FOR_EVER_H)))
        program.wait_for_words("a release is refused: signed by a key that is not trusted here")
        mirror.announce(past.event(past.next(skip=5, expires_h=-(10**6))))
        program.wait_for_words("a release is refused: release 6 has expired")
        mirror.announce(b"\xff")
        program.wait_for_words("a release is refused: this is no JSON")
        mirror.put(history.next(expires_h=FOR_EVER_H))
        assert versions(program, 2) == [1, 3]


def test_a_reader_that_starts_again_cannot_be_rolled_back(
    children: Processes, mosquitto: Broker, federation: str, folder: Path
) -> None:
    history, place = History(federation), folder / "integrator.json"
    with Peer(mosquitto.port, "gateway", client_id="mirror") as peer:
        mirror = Mirror(peer, history)
        for _ in range(2):
            mirror.put(history.next(expires_h=FOR_EVER_H))
        program = reader(children, mosquitto, mirror, folder)
        assert versions(program, 1) == [2]
        program.wait_for(lambda _: json.loads(place.read_text()) == {"taken": 2, "newest": 2})
        program.child.kill()
        program.child.wait(5)
        mirror.announce(history.event(1))
        program.restart()
        program.wait_for_words("a release is refused: a roll-back to release 1 where we had 2")
        mirror.announce(history.event(2))
        mirror.put(history.next(expires_h=FOR_EVER_H))
        assert versions(program, 2) == [2, 3]


def test_a_reader_that_died_with_a_release_in_its_hands_gets_it_again_and_none_before_it(
    children: Processes, mosquitto: Broker, federation: str, folder: Path
) -> None:
    history = History(federation)
    (folder / "integrator.json").write_text('{"taken":-1,"newest":2}')
    with Peer(mosquitto.port, "gateway", client_id="mirror") as peer:
        mirror = Mirror(peer, history)
        for _ in range(2):
            mirror.put(history.next(expires_h=FOR_EVER_H))
        mirror.announce(history.event(1))
        program = reader(children, mosquitto, mirror, folder)
        program.wait_for_words("a release is refused: a roll-back to release 1 where we had 2")
        mirror.announce(history.event(2))
        assert versions(program, 1) == [2]


def test_a_model_that_is_not_the_one_signed_is_not_taken(
    children: Processes, mosquitto: Broker, federation: str, folder: Path
) -> None:
    history = History(federation)
    with Peer(mosquitto.port, "gateway", client_id="mirror") as peer:
        mirror = Mirror(peer, history)
        version = history.next(expires_h=FOR_EVER_H)
        mirror.keep(model(version))
        _, middle, _ = pieces(model(version))
        place = topics.blob(federation, sha256(model(version)), 1)
        peer.publish(place, middle[:-1] + bytes([middle[-1] ^ 1]), retain=True)
        mirror.announce(history.event(version))
        program = reader(children, mosquitto, mirror, folder)
        program.wait_for_words("do not hash to their name")
        assert program.lines.new() == []


@pytest.mark.parametrize("missing", ["MIZZLE_BROKER", "MIZZLE_TOKEN"])
def test_a_device_without_its_settings_says_which(missing: str, tmp_path: Path) -> None:
    given = {"MIZZLE_BROKER": "mqtt://127.0.0.1:1", "MIZZLE_HOME": str(tmp_path), "MIZZLE_TOKEN": "", missing: ""}
    ended = run_node("examples", "device.mjs", **given)
    assert ended.returncode != 0
    assert missing in ended.stderr


def script(text: str, *arguments: str) -> Any:
    """What a few lines of JavaScript print that use the examples' modules."""
    ended = run_node("examples", "--input-type=module", "--eval", text, *arguments)
    assert ended.returncode == 0, ended.stderr
    return told(ended)


STEP = """
import { readFileSync } from "node:fs";
import { layersOf, readModel, train } from "./node/model.mjs";
const [path, csv, settings] = process.argv.slice(1);
const [before, after] = [readModel(readFileSync(path)), readModel(readFileSync(path))];
const rows = readFileSync(csv, "utf8").trim().split("\\n").map((line) => line.split(",").map(Number));
const examples = rows.map((row) => ({ x: Float64Array.from(row.slice(0, -1)), label: row.at(-1) }));
await train(layersOf(after), examples, JSON.parse(settings), () => false);
console.log(JSON.stringify([...after.numbers.map((number, i) => number - before.numbers[i])]));
"""


def test_node_and_numpy_learn_the_same(tmp_path: Path) -> None:
    """In one step over all the examples, whose order makes no difference."""
    once = plan(epochs=1, batch_size=300)
    settings = json.dumps({name: once.train[name] for name in ("epochs", "batch_size", "learning_rate")})
    by_node = script(STEP, str(MODEL), str(csv("3-left", tmp_path / "examples.csv")), settings)
    by_numpy = learned("device_numpy.py", tmp_path / "home", once)
    assert np.abs(by_numpy).max() > 0.01
    assert np.abs(np.array(by_node) - by_numpy).max() < 1e-5


WRITE = """
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { codecOf } from "./node/codecs.mjs";
import { payloadOf } from "./node/payload.mjs";
const { change, seed, bound, plans } = JSON.parse(readFileSync(process.argv[1], "utf8"));
const invitation = { seed: Buffer.from(seed, "hex"), bound };
const written = plans.map((text) => {
  const plan = JSON.parse(text);
  const codec = codecOf(plan.update.codec);
  return payloadOf(Float64Array.from(change), undefined, plan, codec, invitation, randomBytes).payload.toString("hex");
});
console.log(JSON.stringify(written));
"""
CODECS = [
    (PlugIn(name="hadamard", fields={}), 0.001),
    (PlugIn(name="hadamard", fields={"bits": 4}), 0.1),
    (PlugIn(name="drive", fields={}), 0.7),
    (PlugIn(name="drive", fields={"bits": 2}), 0.2),
    (PlugIn(name="topk", fields={"share": 0.5}), 0.1),
]
"""Each with a bound for the error of a Gaussian change, as a share of its squared norm."""


def by(codec: PlugIn, mechanism: PlugIn) -> Plan:
    given = plan()
    return msgspec.structs.replace(
        given,
        update=msgspec.structs.replace(given.update, codec=codec),
        privacy=msgspec.structs.replace(given.privacy, mechanism=mechanism),
    )


def test_mizzle_reads_what_node_writes_by_every_codec_compressed_where_nothing_is_claimed(tmp_path: Path) -> None:
    """The change is half as long as the clip, so that nothing is shortened but what two plans have in common."""
    plain, claimed = PlugIn(name="plain"), plan().privacy.mechanism
    plans = [by(codec, mechanism) for codec, _ in CODECS for mechanism in (plain, claimed)]
    change = np.random.default_rng(1).normal(size=plan().model.parameters)
    change *= plan().update.clip / 2 / np.linalg.norm(change)
    given = {
        "change": change.tolist(),
        "seed": "07" * 32,
        "bound": 2**22,
        "plans": [one.canonical.decode() for one in plans],
    }
    (tmp_path / "given.json").write_text(json.dumps(given))
    written = [bytes.fromhex(text) for text in script(WRITE, str(tmp_path / "given.json"))]
    fulls = [codec_of(one).payload_bytes(grid_of(one)) for one in plans]
    assert [len(payload) for payload in written[1::2]] == fulls[1::2]
    assert len(written[0]) < fulls[0]
    for one, payload, (_, most) in zip(plans, written, np.repeat(np.array(CODECS, object), 2, axis=0), strict=True):
        found = value(grid_of(one), read(payload, one), b"\7" * 32)
        assert np.square(found - change).sum() < most * np.square(change).sum(), one.update.codec


@dataclass(frozen=True)
class Sketched(Barn):
    """A federation whose plan names a codec that came after the example was written."""

    @cached_property
    def plan(self) -> Plan:
        known = Barn(name=self.name).plan
        codec = PlugIn(name="sketch", fields={"rows": 5})
        return msgspec.structs.replace(known, update=msgspec.structs.replace(known.update, codec=codec))

    def invite(self, device: str, window: int = 1, *, version: int = 0, deadline: int = FAR) -> Invitation:
        known = Barn(name=self.name).invite(device, window, version=version, deadline=deadline)
        return msgspec.structs.replace(known, plan=self.plan.digest)


def test_a_plan_whose_codec_it_does_not_know_is_declined_by_name_before_training(
    children: Processes, mosquitto: Broker, federation: str, folder: Path
) -> None:
    barn, url = Sketched(name=federation), f"mqtt://{mosquitto.host}:{mosquitto.port}"
    with closing(MqttBus(url, "gateway", session_expiry_s=0)) as bus:
        gateway = Gateway(bus, barn)
        program = device(children, url, barn.token("node-1"), folder / "node-1")
        gateway.heard.next(Presence, lambda said: said.online)
        gateway.invite("node-1", 1)
        assert gateway.heard.next(Decline).reason == "unknown-codec"
        program.wait_for_words(
            'the plan\'s codec is sketch with {"rows":5}, and this device knows hadamard (bits 8 or 4)'
        )
        program.wait_for(lambda lines: "declined" in [line["event"] for line in lines])
    assert [line["event"] for line in program.lines.seen] == ["belongs", "declined"]


SPARSE = """
schema = 1
federation = "{name}"
model = "tiny.safetensors"
[train]
learning_rate = 0.0
[window]
mode = "rounds"
goal = 2
quorum = 1
[select]
policy = "uniform"
[update]
codec = "topk"
share = 0.2
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = 0.2
minimum_crowd = 1
"""


def test_what_topk_dropped_in_a_former_life_is_sent_with_the_next_change(
    children: Processes, mosquitto: Broker, federation: str, folder: Path
) -> None:
    """Training changes nothing here, so all that is sent was dropped before; and what is dropped now is kept again."""
    barn, url = Barn(name=federation, toml=SPARSE.format(name=federation)), f"mqtt://{mosquitto.host}:{mosquitto.port}"
    lost = np.array([0, 0.5, 0, -0.125, 0, 0, 0.25, 0, 0, 0, 0.0625, 0, 0, 0, -0.375])
    journal = folder / "node-1" / "journal.jsonl"
    journal.parent.mkdir()
    journal.write_text(json.dumps({"lost": base64.b64encode(lost.astype("<f8").tobytes()).decode()}) + "\n")
    with closing(MqttBus(url, "gateway", session_expiry_s=0)) as bus:
        gateway = Gateway(bus, barn)
        program = device(children, url, barn.token("node-1"), journal.parent)
        gateway.heard.next(Presence, lambda said: said.online)
        gateway.invite("node-1", 1)
        payload = gateway.heard.next(Delivered).payload
        program.wait_for(lambda lines: "counted" in [line["event"] for line in lines])
    sent = value(grid_of(barn.plan), read(payload, barn.plan), bytes(32))
    assert np.flatnonzero(sent).tolist() == [1, 6, 14]
    assert np.abs((lost - sent)[[1, 6, 14]]).max() < 0.5 / 100
    kept = [line["lost"] for line in map(json.loads, journal.read_text().splitlines()) if "lost" in line]
    assert np.frombuffer(base64.b64decode(kept[-1]), "<f8").tolist() == (lost - sent).tolist()


@pytest.mark.parametrize(
    "codec",
    [
        {"name": "drive", "fields": {"bits": 4}},
        {"name": "hadamard", "fields": {"bits": 2}},
        {"name": "hadamard", "fields": {"bits": 4, "rows": 5}},
        {"name": "topk", "fields": {"share": 0}},
        {"name": "toString", "fields": {}},
    ],
    ids=json.dumps,
)
def test_a_codec_of_other_settings_is_unknown(codec: dict[str, Any]) -> None:
    program = "import { codecOf } from './node/codecs.mjs'; codecOf(JSON.parse(process.argv[1]));"
    ended = run_node("examples", "--input-type=module", "--eval", program, json.dumps(codec))
    assert f"the plan's codec is {codec['name']} with" in ended.stderr


HOME = """
import { openHome } from "./node/home.mjs";
const [folder, ...kept] = process.argv.slice(1);
const home = openHome(folder);
for (const word of kept)
  home.keep(Buffer.from(word), Buffer.from("sealed"), Buffer.from(word), Float64Array.of(word.length));
const waiting = [...home.waiting()].map(([id, { payload }]) => [Buffer.from(id, "hex").toString(), payload.toString()]);
const lost = home.lost() && [...home.lost()];
console.log(JSON.stringify({ waiting, lost, counter: home.counter(), key: home.key.publicKey.toString("hex") }));
"""


def test_a_line_that_a_loss_of_power_cut_off_is_as_if_it_had_never_been_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = script(HOME, str(home), "one", "three")
    journal = home / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"kept":"666f7572","sealed":"c2')
    again = script(HOME, str(home))
    assert again["waiting"] == first["waiting"] == [["one", "one"], ["three", "three"]]
    assert again["lost"] == first["lost"] == [5]
    assert again["key"] == first["key"]
    assert (home / "key").stat().st_mode & 0o777 == 0o600


def test_a_device_never_signs_under_a_number_twice(tmp_path: Path) -> None:
    """Numbers are reserved in blocks: those of a block that a life did not use up are never used."""
    numbers = [script(HOME, str(tmp_path))["counter"] for _ in range(3)]
    assert numbers == [1, 257, 513]
