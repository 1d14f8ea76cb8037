"""The applications of Mizzle: one folder and one verb each, run as `python -m services.NAME` from a checkout."""
