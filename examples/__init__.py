"""Mizzle on real data. Run from the root of a checkout: `python -m examples.device_torch`.

A package, not a bare folder: opacus installs a package of this name too, and Python would find that one first.
"""
