"""Benches: one file a figure, each beside the peer or the limit it is compared with."""
