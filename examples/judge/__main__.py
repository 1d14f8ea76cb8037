"""Judge a ledger, its devices' logs and a broker's trace: `python -m examples.judge LEDGER.db --homes FOLDER`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from sqlite3 import Error
from typing import Final

from .evidence import gathered
from .verdict import as_json, as_text, verdict

_CLEAN: Final = 0
_UNREADABLE: Final = 1
_WRONG: Final = 9


def main() -> int:
    """Print the verdict; 0 if nothing is wrong, 9 if something is, 1 if the evidence cannot be read."""
    asked = _arguments().parse_args()
    try:
        evidence = gathered(asked.ledger, asked.homes, asked.trace, asked.earlier)
    except (Error, OSError, ValueError, KeyError) as why:
        print(f"The evidence cannot be read: {why}", file=sys.stderr)
        return _UNREADABLE
    found = verdict(evidence)
    print(as_text(found))
    if asked.json:
        asked.json.write_text(json.dumps(as_json(found), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return _CLEAN if found.is_clean else _WRONG


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.judge", description=__doc__)
    parser.add_argument("ledger", type=Path, help="the ledger's SQLite file")
    parser.add_argument("--homes", type=Path, help="the folder of the devices' folders, each with an outbox.db")
    parser.add_argument("--trace", type=Path, help="what a subscriber to the broker saw, as JSON lines")
    parser.add_argument("--earlier", type=Path, help="an older copy of the ledger, or one that was lost")
    parser.add_argument("--json", type=Path, help="where to write the verdict as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
