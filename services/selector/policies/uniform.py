"""Everybody present is as likely to be invited as anybody else."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Uniform:
    """The policy of a plan that says `policy = "uniform"`: a uniform sample without replacement."""

    def choose(self, present: Sequence[str], count: int, entropy: bytes) -> tuple[str, ...]:
        """The `count` devices whose hash with the entropy is smallest, in the order of their names.

        SHA-256 under a fresh key ranks them at random, and does not care in which order they are given.
        """
        ranked = sorted(set(present), key=lambda device: hashlib.sha256(entropy + device.encode()).digest())
        return tuple(sorted(ranked[:count]))
