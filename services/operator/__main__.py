"""`python -m services.operator token | keys | migrate | verify | doctor`: what an operator does by hand.

It is what `docker compose run --rm operator` runs. Exit: as the ledger's commands and the doctor say.
"""

import sys

from services.doctor.command import doctor
from services.ledger.commands import app, main

if __name__ == "__main__":
    app.command()(doctor)
    sys.exit(main())
