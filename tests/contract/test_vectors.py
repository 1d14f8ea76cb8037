"""The golden vectors: what an encoder that shares no code with ours wrote (schemas/vectors/make.mjs) is what we write.

Bad ones are refused with the error that they name.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save

from mizzle import blobs, codec, errors, layout, manifest, model, packing, parts, payload, plan, terms, topics
from mizzle.codecs.topk import Topk
from mizzle.device import feedback, training
from mizzle.device.effects import Train
from mizzle.device.enrol import proof
from mizzle.device.task import Task
from mizzle.envelope import Key, Purpose, key_id, seal, unseal
from mizzle.grid import Grid, Sparse, clip, fit, rotate, signs
from mizzle.messages import FromDevice, Invitation, Message, ToDevice
from mizzle.plan import Plan, PlugIn
from mizzle.plugins import Codec
from mizzle.registry import plug_in
from tests.services.plans import plan as small_plan

VECTORS = Path(__file__).parents[2] / "schemas" / "vectors"

Vector = dict[str, Any]


def vectors(side: str, *kinds: str) -> list[Any]:
    found = [json.loads(path.read_bytes()) for path in sorted((VECTORS / side).glob("*.json"))]
    return [pytest.param(vector, id=vector["name"]) for vector in found if vector["kind"] in kinds]


def patterned(size: int) -> bytes:
    """What the vectors' rule says: byte i is (7 * i + floor(i / 256)) mod 256."""
    return bytes((7 * i + (i >> 8)) % 256 for i in range(size))


def written_out(runs: list[dict[str, Any]]) -> bytes:
    return b"".join(bytes.fromhex(run["hex"]) * run["times"] for run in runs)


def outline(body: bytes) -> Vector:
    return {"size": len(body), "sha256_hex": hashlib.sha256(body).hexdigest(), "begins_hex": body[:36].hex()}


def from_view(view: Vector) -> Message:
    message: Message = msgspec.json.decode(json.dumps(view), type=FromDevice | ToDevice)
    return message


def decoded(body: bytes, purpose: Purpose) -> Message:
    from_device = purpose in {Purpose.ENROLMENT, Purpose.PRESENCE, Purpose.DECLINE, Purpose.UPDATE}
    return codec.decode_from_device(body) if from_device else codec.decode_to_device(body)


@pytest.mark.parametrize("vector", vectors("good", "sealed"))
def test_a_message_has_the_bytes_of_the_vector(vector: Vector) -> None:
    message = from_view(vector["message"])
    wire = bytes.fromhex(vector["wire_hex"])
    assert codec.encode(message) == wire
    assert decoded(wire, Purpose[vector["purpose"].upper()]) == message


@pytest.mark.parametrize("vector", vectors("good", "sealed"))
def test_a_sealed_message_has_the_bytes_of_the_vector(vector: Vector) -> None:
    key = Key(bytes.fromhex(vector["seed_hex"]))
    purpose = Purpose[vector["purpose"].upper()]
    sealed = seal(from_view(vector["message"]), purpose, key, vector["epoch"], int(vector["counter"]))
    assert key.public_key.hex() == vector["public_key_hex"]
    assert key_id(key.public_key).hex() == vector["key_id_hex"]
    assert sealed.hex() == vector["envelope_hex"]


@pytest.mark.parametrize("vector", vectors("good", "sealed"))
def test_an_envelope_of_the_vectors_is_opened(vector: Vector) -> None:
    envelope = unseal(bytes.fromhex(vector["envelope_hex"]))
    envelope.verify(bytes.fromhex(vector["public_key_hex"]))
    found = (
        envelope.purpose.name.lower(),
        envelope.epoch,
        str(envelope.counter),
        envelope.header.hex(),
        envelope.id.hex(),
    )
    assert found == tuple(vector[name] for name in ("purpose", "epoch", "counter", "wire_hex", "id_hex"))


@pytest.mark.parametrize("vector", vectors("good", "proof"))
def test_an_enrolment_proof_is_the_vectors(vector: Vector) -> None:
    secret_digest, public_key = (
        hashlib.sha256(vector["secret"].encode()).digest(),
        bytes.fromhex(vector["public_key_hex"]),
    )
    assert proof(secret_digest, vector["federation"], vector["device"], public_key).hex() == vector["proof_hex"]


@pytest.mark.parametrize("vector", vectors("good", "parts"))
def test_an_update_is_split_into_the_parts_of_the_vector(vector: Vector) -> None:
    sealed, payload = bytes.fromhex(vector["envelope_hex"]), patterned(vector["payload_size"])
    messages = list(parts.split(sealed, payload))
    assert [outline(message) for message in messages] == vector["parts"]
    assert b"".join(parts.read(message).chunk for message in messages) == payload


@pytest.mark.parametrize("vector", vectors("good", "blob"))
def test_a_blob_is_cut_into_the_pieces_of_the_vector(vector: Vector) -> None:
    blob, digest = patterned(vector["size"]), bytes.fromhex(vector["digest_hex"])
    pieces = list(blobs.pieces(blob))
    places = [topics.blob(vector["federation"], digest, index) for index in range(len(pieces))]
    assert [{"topic": place, **outline(piece)} for place, piece in zip(places, pieces, strict=True)] == vector["pieces"]
    assembly = blobs.Assembly(digest)
    assert [assembly.add(index, piece) for index, piece in enumerate(pieces)][-1] == blob


@pytest.mark.parametrize("vector", vectors("good", "topics"))
def test_a_device_publishes_where_the_vector_says(vector: Vector) -> None:
    for wanted in vector["topics"]:
        found = topics.up(vector["federation"], wanted["device"], topics.Up.UPDATE)
        assert (topics.shard(wanted["device"]), found) == (wanted["shard"], wanted["topic"])


@pytest.mark.parametrize("vector", vectors("good", "release"))
def test_a_signed_manifest_has_the_bytes_of_the_vector(vector: Vector) -> None:
    key = Key(bytes.fromhex(vector["seed_hex"]))
    told = msgspec.convert(vector["manifest"], manifest.Manifest)
    envelope = manifest.sign(told, key.sign, key.public_key)
    assert envelope.decode() == vector["envelope"]
    assert base64.b64decode(json.loads(envelope)["payload"]).decode() == vector["payload"]
    assert hashlib.sha256(envelope).hexdigest() == vector["digest_hex"]
    assert manifest.verify(envelope, [key.public_key], vector["federation"], vector["now"]) == told
    assert manifest.cloud_event(vector["federation"], envelope, told).decode() == vector["event"]
    assert manifest.from_cloud_event(vector["event"].encode()) == envelope


@pytest.mark.parametrize("vector", vectors("good", "plan"))
def test_a_plan_is_read_as_the_vector_says(vector: Vector) -> None:
    read = plan.from_canonical(vector["canonical"].encode())
    grid = terms.grid_of(read)
    assert (read.canonical.decode(), read.digest.hex()) == (vector["canonical"], vector["digest_hex"])
    found = (grid.exponent, terms.bound_of(read), grid.bits, grid.size, grid.padded)
    assert found == tuple(vector[name] for name in ("exponent", "bound", "bits", "parameters", "padded"))
    assert terms.codec_of(read).payload_bytes(grid) == vector["payload_bytes"]


@pytest.mark.parametrize("vector", vectors("good", "model"))
def test_a_model_has_the_numbers_of_the_vector_in_its_order(vector: Vector) -> None:
    body = bytes.fromhex(vector["model_hex"])
    assert [[name, list(shape)] for name, shape in layout.tensors(body)] == vector["tensors"]
    assert model.flat(body).tolist() == vector["flat"]


RULES: dict[str, Callable[[int], float]] = {
    "number i is (((37 * i + 11) mod 101) - 50) / 1024": lambda i: ((37 * i + 11) % 101 - 50) / 1024,
    "number i is (-1)^i * (((73 * i + 5) mod 331) + 1) / 1024": lambda i: (-1) ** i * ((73 * i + 5) % 331 + 1) / 1024,
}
"""What the vectors' rules say."""


def change_of(vector: Vector) -> Any:
    return np.array(vector.get("change") or [RULES[vector["change_rule"]](i) for i in range(vector["size"])])


def codec_of(vector: Vector) -> Codec:
    """The codec of a vector; one that names none is of those that there were at first."""
    named = vector.get("codec") or {"name": "hadamard", "fields": {"bits": vector["bits"]}}
    found: Codec = plug_in("mizzle.codecs", PlugIn(**named))
    return found


@pytest.mark.parametrize("vector", vectors("good", "payload"))
def test_a_change_has_the_payload_of_the_vector(vector: Vector) -> None:
    grid = Grid(exponent=vector["exponent"], bits=vector["bits"], size=vector["size"])
    change, seed, coder = change_of(vector), bytes.fromhex(vector["seed_hex"]), codec_of(vector)
    assert (list(grid.blocks), grid.id) == (vector["blocks"], vector["grid_id_hex"])
    coded = coder.encode(change, grid, seed, vector["bound"], patterned)
    assert (len(coded), hashlib.sha256(coded).hexdigest()) == (vector["payload_size"], vector["payload_sha256_hex"])
    assert coded.hex() == vector.get("payload_hex", coded.hex())
    update = coder.decode(coded, grid)
    assert isinstance(update, Sparse) == ("places" in vector)
    assert not isinstance(update, Sparse) or update.places.tolist() == vector["places"]
    assert update.multiplier == vector["multiplier"]
    if update.multiplier:
        assert update.sum_of_squares == vector["sum_of_squares"]
        assert update.multiplier == fit(vector["multiplier_before"], update.sum_of_squares, vector["bound"])
    if "signs_hex" in vector:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(vector["signs_hex"]), np.uint8), bitorder="little")
        assert (signs(seed, grid.padded) == 1 - 2 * bits.astype(np.int8)).all()
        assert rotate(grid, change, seed)[:8].tolist() == vector["rotated"]


def invitation() -> Invitation:
    """The one of the vectors."""
    message = from_view(json.loads((VECTORS / "good" / "invitation.json").read_bytes())["message"])
    assert isinstance(message, Invitation)
    return message


def planned(vector: Vector, mechanism: str = "plain") -> Plan:
    """A plan with what the vector says of it."""
    given = small_plan()
    wanted = PlugIn(name=mechanism, fields={} if mechanism == "plain" else {"noise_multiplier": 0.2})
    return msgspec.structs.replace(
        given,
        model=msgspec.structs.replace(given.model, parameters=vector.get("size", 2)),
        update=plan.UpdatePlan(
            codec=PlugIn(**vector.get("codec", {"name": "hadamard"})),
            clip=vector.get("clip", 1.0),
            examples=vector.get("expected", msgspec.UNSET),
        ),
        privacy=msgspec.structs.replace(given.privacy, mechanism=wanted),
    )


@pytest.mark.parametrize("vector", vectors("good", "weighed"))
def test_a_change_is_weighed_and_then_clipped_as_the_vector_says(vector: Vector) -> None:
    for case in vector["cases"]:
        found = training._weighed(np.array(vector["change"]), planned(vector), case["examples"])
        assert found.tolist() == case["weighed"]
        assert clip(found, vector["clip"]).tolist() == pytest.approx(case["clipped"], rel=1e-15)


@pytest.mark.parametrize("vector", vectors("good", "proximal"))
def test_a_step_is_pulled_back_as_the_vector_says(vector: Vector) -> None:
    base = save({"w": np.array(vector["base"], np.float32)})
    wanted = msgspec.structs.replace(small_plan(), train={"proximal": vector["proximal"]})
    task = Task(Train(invitation(), wanted, base), np.random.default_rng())
    weights = {"w": np.array(vector["weights"])}
    pull = task.pull(weights)["w"]
    assert pull.tolist() == vector["pull"]
    stepped = weights["w"] - vector["learning_rate"] * (np.array(vector["gradient"]) + pull)
    assert stepped.tolist() == vector["stepped"]


@pytest.mark.parametrize("vector", vectors("good", "feedback"))
def test_what_a_codec_drops_joins_the_next_change_as_the_vector_says(vector: Vector) -> None:
    """A device keeps it in 32 bits, so it may differ behind the seventh digit."""
    given, lost = planned(vector), b""
    assert isinstance(terms.codec_of(given), Topk)
    for window in vector["windows"]:
        wanted = feedback.carried(np.array(window["change"]), lost, given)
        assert wanted.tolist() == pytest.approx(window["wanted"], abs=1e-7)
        coded = payload.written(wanted, given, bytes(32), vector["bound"], patterned)
        assert coded.hex() == window["payload_hex"]
        lost = feedback.still_lost(wanted, coded, given, invitation())
        assert np.frombuffer(lost, "<f4").tolist() == pytest.approx(window["lost"], abs=1e-7)


@pytest.mark.parametrize("vector", vectors("good", "frame"))
def test_a_frame_holds_the_payload_of_the_vector(vector: Vector) -> None:
    assert packing.unpack(bytes.fromhex(vector["frame_hex"]), vector["size"]).hex() == vector["payload_hex"]


def refusal(vector: Vector) -> str:
    """The name of the error that the vector's bytes raise."""
    with pytest.raises(errors.MizzleError) as caught:
        READERS[vector["kind"]](vector)
    assert str(caught.value)
    return caught.type.__name__


def read_release(vector: Vector) -> None:
    keys = [bytes.fromhex(vector["public_key_hex"])]
    manifest.verify(written_out(vector["bytes"]), keys, vector["federation"], vector["now"])


def read_pieces(vector: Vector) -> None:
    assembly = blobs.Assembly(bytes.fromhex(vector["digest_hex"]), vector["most"])
    for piece in vector["pieces"]:
        assembly.add(piece["index"], written_out(piece["bytes"]))


READERS = {
    "from_device": lambda vector: codec.decode_from_device(written_out(vector["bytes"])),
    "to_device": lambda vector: codec.decode_to_device(written_out(vector["bytes"])),
    "part": lambda vector: parts.read(written_out(vector["bytes"])),
    "blob": read_pieces,
    "payload": lambda vector: payload.read(written_out(vector["bytes"]), planned(vector, vector["mechanism"])),
    "release": read_release,
}


@pytest.mark.parametrize("vector", vectors("bad", *READERS))
def test_a_bad_vector_is_refused_with_its_error(vector: Vector) -> None:
    assert refusal(vector) == vector["error"]


@pytest.mark.parametrize("vector", vectors("bad", "envelope"))
def test_a_bad_envelope_is_refused_with_its_error_at_its_step(vector: Vector) -> None:
    step = "unseal"
    with pytest.raises(errors.MizzleError) as caught:  # noqa: PT012  # which of the three steps raises is what is asked
        envelope = unseal(written_out(vector["bytes"]))
        step = "verify"
        envelope.verify(bytes.fromhex(vector["public_key_hex"]))
        step = "decode"
        decoded(envelope.header, envelope.purpose)
    assert (step, caught.type.__name__) == (vector["at"], vector["error"])


@pytest.mark.parametrize("side", ["good", "bad"])
def test_every_vector_is_read_by_a_test_and_named_as_its_file(side: str) -> None:
    good = {"sealed", "proof", "parts", "blob", "topics", "plan", "model", "payload", "release"}
    good |= {"weighed", "proximal", "feedback", "frame"}
    kinds = {"good": good, "bad": {"envelope", *READERS}}
    for path in (VECTORS / side).iterdir():
        vector = json.loads(path.read_bytes())
        assert path.name == f"{vector['name']}.json"
        assert vector["kind"] in kinds[side]
        assert vector["what"]
