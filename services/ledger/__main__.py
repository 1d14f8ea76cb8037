"""`python -m services.ledger COMMAND`: see its commands."""

import sys

from services.ledger.commands import main

if __name__ == "__main__":
    sys.exit(main())
