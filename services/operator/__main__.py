"""`python -m services.operator COMMAND`: what an operator does by hand, with the ledger, and as its doctor.

It is what `docker compose run --rm operator` runs. Exit: as the ledger's commands and the doctor say.
"""

import sys

from services.doctor.command import doctor
from services.ledger.commands import app, main

if __name__ == "__main__":
    app.command()(doctor)
    sys.exit(main())
