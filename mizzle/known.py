"""Make types known to msgspec while their module is imported, when no other thread can be at it.

msgspec 0.22 learns what a Struct is made of when it first decodes one, and two threads that are first at the same time
end the process with a segmentation fault: one finds what the other has only begun to write. Many devices in one
process, or a gateway's threads, are just that.
"""

from typing import Any

import msgspec


def known(*kinds: Any) -> None:  # noqa: ANN401  # types and unions of types
    """Let msgspec learn these types, and all that they are made of; the last statement of the module that has them."""
    for kind in kinds:
        msgspec.json.Decoder(kind)
