"""An integrator that comes late: it follows the releases, oldest first, and tells how good each is.

From a checkout: `python -m examples.integrator mqtt://HOST:PORT FEDERATION RELEASE_KEY`. It knows the broker's
address and the federation's public key and nothing else; a release that does not verify is never seen here. One JSON
object a line.
"""

from __future__ import annotations

import asyncio
import json
import sys

import mizzle
from examples.alone import accuracy


async def report(broker: str, federation: str, release_key: str) -> None:
    """Print a line for each release, from the oldest that is kept, until it is stopped."""
    async for release in mizzle.follow(broker, federation, release_key):
        line = {
            "version": release.version,
            "window": release.manifest.window,
            "accuracy": round(accuracy(release.tensors()), 4),
            "verified": True,
            "gap": release.gap,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    asyncio.run(report(*sys.argv[1:4]))
