"""The Node examples read every golden vector as Mizzle does, and believe of releases what it believes."""

import base64
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mizzle import topics
from mizzle.blobs import pieces
from mizzle.device.enrol import broker_password
from services.local.broker import Broker
from services.local.processes import Processes
from tests.contract.test_vectors import VECTORS
from tests.examples.node import Program, csv, integrator
from tests.examples.test_examples import MODEL, learned, plan
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


HOME = """
import { openHome } from "./node/home.mjs";
const [folder, ...kept] = process.argv.slice(1);
const home = openHome(folder);
for (const word of kept) home.keep(Buffer.from(word), Buffer.from("sealed"), Buffer.from(word));
const waiting = [...home.waiting()].map(([id, { payload }]) => [Buffer.from(id, "hex").toString(), payload.toString()]);
console.log(JSON.stringify({ waiting, counter: home.counter(), key: home.key.publicKey.toString("hex") }));
"""


def test_a_line_that_a_loss_of_power_cut_off_is_as_if_it_had_never_been_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = script(HOME, str(home), "one", "two")
    journal = home / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"kept":"7468726565","sealed":"c2')
    again = script(HOME, str(home))
    assert again["waiting"] == first["waiting"] == [["one", "one"], ["two", "two"]]
    assert again["key"] == first["key"]
    assert (home / "key").stat().st_mode & 0o777 == 0o600


def test_a_device_never_signs_under_a_number_twice(tmp_path: Path) -> None:
    """Numbers are reserved in blocks: those of a block that a life did not use up are never used."""
    numbers = [script(HOME, str(tmp_path))["counter"] for _ in range(3)]
    assert numbers == [1, 257, 513]
