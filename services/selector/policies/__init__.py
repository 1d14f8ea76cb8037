"""Policies choose whom to invite of those who are there: one file each, its name is the name in a plan."""
