"""What a strategy remembers is what the next window reads."""

import numpy as np
import pytest
from safetensors.numpy import load

from mizzle.grid import Vector
from services.aggregator.succession import _written

ROW = np.arange(12.0)


@pytest.mark.parametrize("vector", [ROW, ROW[::2], ROW[::-1], ROW[3:7], ROW.reshape(3, 4).T[1], np.zeros(0)])
def test_a_memory_is_written_as_it_reads_however_it_lies(vector: Vector) -> None:
    """The file's library takes the bytes from where the first number lies, and does not look at strides."""
    found = load(_written("strategy 'any'", {"v": vector}))
    assert found["v"].tolist() == vector.tolist()
