"""Strategies make the next model of the mean update: one file each, its name is the name in a plan."""
