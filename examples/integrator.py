"""An integrator that comes late: it follows the releases, oldest first, and tells how good each is.

From a checkout: `python -m examples.integrator mqtt://HOST:PORT FEDERATION RELEASE_KEY`. It knows the broker's
address and the federation's public key and nothing else; a release that does not verify is never seen here. One JSON
object a line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

import mizzle
from examples.alone import accuracy
from mizzle.errors import MizzleError


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
    parser = argparse.ArgumentParser(description="Follow a federation's releases, and tell how good each is.")
    parser.add_argument("broker", help="mqtt://HOST:PORT")
    parser.add_argument("federation", help="whose releases")
    parser.add_argument("key", help="the key that signs them: 64 hexadecimal digits")
    given = parser.parse_args()
    try:
        asyncio.run(report(given.broker, given.federation, given.key))
    except MizzleError as error:
        sys.exit(f"{parser.prog}: {error}")
