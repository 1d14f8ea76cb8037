"""A payload is compressed where that helps and where no privacy is claimed, and nowhere else."""

import os

import numpy as np
import pytest

from mizzle.errors import Unreadable
from mizzle.grid import Vector, value
from mizzle.packing import pack
from mizzle.payload import read, written
from mizzle.plan import Plan, from_toml
from mizzle.terms import bound_of, codec_of, grid_of
from tests.makers import MODEL, PLAN, plan

SEED = bytes(32)


def open_plan() -> Plan:
    """The small plan without noise, and so without a claim."""
    return from_toml(PLAN.replace('"gaussian"\nnoise_multiplier = 0.2', '"plain"'), MODEL)


def few(of: Plan) -> Vector:
    """A change whose code compresses well."""
    return np.zeros(of.model.parameters)


def test_under_a_privacy_claim_every_payload_has_the_full_length() -> None:
    of = plan()
    assert len(written(few(of), of, SEED, bound_of(of), os.urandom)) == codec_of(of).payload_bytes(grid_of(of))


def test_without_a_claim_a_payload_that_shrinks_is_sent_shrunk() -> None:
    of = open_plan()
    body = written(few(of), of, SEED, bound_of(of), os.urandom)
    assert len(body) < codec_of(of).payload_bytes(grid_of(of))
    assert value(grid_of(of), read(body, of), SEED).tolist() == few(of).tolist()


def test_without_a_claim_a_payload_that_does_not_shrink_is_sent_as_it_is() -> None:
    of = open_plan()
    change = np.random.default_rng(1).normal(size=of.model.parameters) / 100
    assert len(written(change, of, SEED, bound_of(of), os.urandom)) == codec_of(of).payload_bytes(grid_of(of))


def test_under_a_privacy_claim_a_compressed_payload_is_unreadable() -> None:
    """Its length would tell: no honest device sends it."""
    of = plan()
    with pytest.raises(Unreadable, match="payload is"):
        read(pack(bytes(codec_of(of).payload_bytes(grid_of(of)))), of)


def test_a_compressed_payload_of_another_length_is_unreadable() -> None:
    of = open_plan()
    for size in (0, codec_of(of).payload_bytes(grid_of(of)) + 1, 2**20):
        with pytest.raises(Unreadable):
            read(pack(bytes(size)), of)
