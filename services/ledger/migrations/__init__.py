"""Migrations: `versions/` holds one file per change of the tables, `env.py` is how they run."""
