"""A safetensors file is read only where all that its header says is so; see tests/hostile/models.py."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from mizzle.errors import Misconfigured
from mizzle.layout import tensors
from mizzle.model import flat, named
from tests.hostile.memory import MIB
from tests.hostile.models import BAD, GOOD, entry, written
from tests.makers import MODEL, plan


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_not_what_it_says_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured, match="a safetensors file"):
        tensors(BAD[name])


@pytest.mark.parametrize("name", BAD)
def test_no_plan_is_made_for_it(name: str) -> None:
    with pytest.raises(Misconfigured, match="a safetensors file"):
        plan(BAD[name])


@pytest.mark.parametrize("name", BAD)
def test_neither_a_device_nor_an_integrator_opens_it(name: str) -> None:
    """`Release.tensors` and a device's task are `named`; `flat` is what changes are reckoned from."""
    for opened in (named, flat):
        with pytest.raises(Misconfigured, match="a safetensors file"):
            opened(BAD[name])


@pytest.mark.parametrize("name", BAD)
def test_a_refusal_allocates_little(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Misconfigured):
            tensors(BAD[name])
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_a_file_cut_short_at_any_byte_is_refused(length: int) -> None:
    with pytest.raises(Misconfigured):
        tensors(GOOD[:length])


def test_a_refusal_names_the_tensor() -> None:
    with pytest.raises(Misconfigured, match=r"'b' of shape \[4\] would lie at \(16, 32\), not at \(8, 24\)"):
        tensors(BAD["overlapping tensors"])


def test_a_good_file_is_read_whole() -> None:
    assert tensors(GOOD) == [("bias", (4,)), ("weight", (2, 3))]
    assert list(flat(GOOD)) == [1, 1, 1, 1, 0, 1, 2, 3, 4, 5]
    assert tensors(MODEL) == [(name, shape.shape) for name, shape in named(MODEL).items()]


EXTENTS = st.integers(-1, 8) | st.sampled_from([2**31, 2**62, 2**63, 2**64])
ENTRIES = st.builds(
    entry, st.lists(EXTENTS, max_size=3), st.lists(EXTENTS.map(lambda n: 4 * n), min_size=1, max_size=3)
)


@given(st.dictionaries(st.sampled_from("abc"), ENTRIES, max_size=3), st.integers(0, 20))
def test_what_the_formats_own_library_refuses_is_refused(header: dict[str, Any], numbers: int) -> None:
    refuses_what_the_library_refuses(written(header, 4 * numbers))


@given(st.binary(max_size=3), st.integers(0, len(GOOD) - 1))
def test_so_is_a_good_file_with_a_few_other_bytes(other: bytes, at: int) -> None:
    refuses_what_the_library_refuses(GOOD[:at] + other + GOOD[at + len(other) :])


def refuses_what_the_library_refuses(model: bytes) -> None:
    try:
        deserialize(model)  # type: ignore[no-untyped-call]  # the library's own check, not annotated
    except SafetensorError:
        with pytest.raises(Misconfigured):
            tensors(model)


def test_the_names_of_a_header_are_any_text() -> None:
    name = json.loads('"\\u0000../../etc/\\n<script>"')
    assert tensors(written({name: entry([1], [0, 4])}, 4)) == [(name, (1,))]
