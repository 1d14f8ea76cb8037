"""Where the payload store of a run lies: in memory, if there is room for it."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.local.janitor import workplace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.load import Load

_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # a folder of its own is made in it


@contextmanager
def placed(folder: Path, load: Load) -> Iterator[str]:
    """Have `folder/payloads` lie in memory where two windows fit, else on the disk; say which.

    What a payload store loses devices send again, so memory is a fit place. On a disk the file system would be
    measured: an ext4 without a journal, which virtual machines have, takes half a millisecond to find a new file an
    inode that was not in use lately.
    """
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < 2 * load.window * load.elements:
        yield "disk"
        return
    with workplace(_MEMORY) as memory:
        (folder / "payloads").symlink_to(memory)
        yield "memory"
