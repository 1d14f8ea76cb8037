"""A finding: one promise that the evidence contradicts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Finding:
    """What is wrong (a word of `codes`), with whom or what, and a sentence that says how it shows."""

    code: str
    subject: str
    sentence: str


def update_named(update: bytes) -> str:
    """An update, as findings call it."""
    return f"update {update.hex()}"


def window_named(federation: str, number: int) -> str:
    """A window, as findings call it."""
    return f"window {federation}/{number}"


def release_named(federation: str, version: int) -> str:
    """A release, as findings call it."""
    return f"release {federation}/{version}"
