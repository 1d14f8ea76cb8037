"""The applications of Mizzle: one folder and one verb each, run as `python -m services.NAME` from a checkout."""

import os

# Before anything imports numpy: on vectors of our size a second thread of OpenBLAS costs more than it gives.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
