"""`python -m services.doctor`: what is wrong where the services run, and the command that comes next.

It wants the environment of the services. Exit: 0 all is well, 2 usage, 3 configuration, 10 something is not well.
"""

import typer

from services.doctor.command import doctor

if __name__ == "__main__":
    typer.run(doctor)
