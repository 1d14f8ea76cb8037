"""Mechanisms noise a sum and price what one update in it costs: one file each, its name is the name in a plan."""
