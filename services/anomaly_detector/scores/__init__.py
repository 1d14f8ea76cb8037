"""Scores say how suspicious an update is: one file each, its name is the name in a plan."""
