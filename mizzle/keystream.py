"""Random words for noise: AES-256 in counter mode under a key, from counter 0."""

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

Words = npt.NDArray[np.uint64]


class Keystream:
    """The endless keystream of one key as words of 64 bits, little-endian; two under one key are equal."""

    def __init__(self, key: bytes) -> None:
        self._stream = Cipher(AES(key), CTR(bytes(16))).encryptor()

    def words(self, count: int) -> Words:
        """The next words (count,)."""
        return np.frombuffer(self._stream.update(bytes(8 * count)), "<u8")

    def word(self) -> int:
        """The next word."""
        return int.from_bytes(self._stream.update(bytes(8)), "little")
