"""Codecs turn a change of weights into levels on the grid and back: one file each, its name is the name in a plan."""
