"""The words under a key are AES's, each once, however they are asked for."""

import numpy as np

from mizzle.keystream import Keystream


def test_words_are_the_keystream_of_aes_256_in_counter_mode() -> None:
    """The zero key's blocks 0 and 1, as NIST's and the GCM specification's test vectors have them."""
    blocks = bytes.fromhex("dc95c078a2408989ad48a21492842087" + "530f8afbc74536b9a963b4f1c4cb738b")
    assert Keystream(bytes(32)).words(4).astype("<u8").tobytes() == blocks


def test_words_go_on_where_the_last_ones_ended() -> None:
    whole, parts = Keystream(bytes(32)), Keystream(bytes(32))
    got = [*parts.words(3).tolist(), parts.word(), *parts.words(1).tolist()]
    assert got == whole.words(5).tolist()


def test_no_word_comes_twice() -> None:
    words = Keystream(bytes(32)).words(100_000)
    assert np.unique(words).size == words.size
