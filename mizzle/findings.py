"""What a doctor finds: what was looked at, whether it is well, and if not the command that comes next.

Each judgement is a function of what was read or measured, so that it can be shown any clock, mode or answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NOT_AUTHORIZED: Final = 0x87
REFUSALS: Final = ("Not authorized", "Bad user name or password")
"""What a broker says to whom it does not know, or whose password is another."""

MOST_SKEW_MS: Final = 10_000
"""A slow line may take seconds; a clock that is off by more makes a device miss windows, or train for ended ones."""

_OTHERS: Final = 0o077
_GROUP_AND_OTHERS_WRITE: Final = 0o022


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. It is well if there is nothing to do about it; else `next` is a command line."""

    subject: str
    what: str
    next: str = ""

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to do about it."""
        return not self.next

    @property
    def told(self) -> dict[str, object]:
        """It for a program."""
        return {"subject": self.subject, "well": self.is_well, "what": self.what, "next": self.next}

    @property
    def text(self) -> str:
        """It for people, the command on a line of its own."""
        mark = "ok   " if self.is_well else "WRONG"
        return f"{mark}  {self.subject:<9} {self.what}" + (f"\n                 next: {self.next}" if self.next else "")


def are_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing is to be done."""
    return all(finding.is_well for finding in findings)


def conclusion(findings: Sequence[Finding]) -> str:
    """The last line for people."""
    wrong = [finding for finding in findings if not finding.is_well]
    if not wrong:
        return f"all {len(findings)} are well"
    return f"{len(wrong)} of {len(findings)} are not well; begin with: {wrong[0].next}"


def private(subject: str, path: str, mode: int) -> Finding:
    """Whether nobody but its owner can get at the file; `mode` is what `stat` says of it."""
    if mode & _OTHERS:
        return Finding(subject, f"{path} has mode {mode & 0o777:04o}: others may read it", f"chmod 600 {path}")
    return Finding(subject, f"{path} is its owner's alone")


def clock(ours: int, theirs: int, whose: str) -> Finding:
    """Whether our clock goes as the server's, both in milliseconds since 1970 and read at the same moment."""
    skew = ours - theirs
    if abs(skew) <= MOST_SKEW_MS:
        return Finding("clock", f"it goes with {whose}, within {MOST_SKEW_MS // 1000} s")
    way = "ahead of" if skew > 0 else "behind"
    what = f"it is {_span(abs(skew))} {way} {whose}; windows end by the server's clock"
    return Finding("clock", what, "sudo timedatectl set-ntp true")


def signed_later(ours: int, signed: int) -> Finding:
    """Whether our clock is behind what the server has signed already: it can be, only if it is wrong."""
    if signed > ours + MOST_SKEW_MS:
        return clock(ours, signed, "the newest receipt")
    return Finding(
        "clock", "it is not behind the newest receipt; with no gateway there is nothing else to compare with"
    )


def denied(reason: int | None, other: str, command: str) -> Finding:
    """Whether the broker refused what we published under another's name; `reason` is its PUBACK's, None if none came.

    `command` is what shows it again, or mends it.
    """
    if reason == NOT_AUTHORIZED:
        return Finding("acl", "the broker refuses what is published under another name")
    if reason is None:
        return Finding("acl", "the broker did not answer a publication under another name", command)
    what = f"the broker took what we published as {other} (reason {reason:#04x}): anybody can speak for any device"
    return Finding("acl", what, command)


def reach(host: str, port: int) -> str:
    """The command that shows whether anybody listens there; wherever Mizzle runs, Python does."""
    return f"python3 -c {quote(f'import socket;socket.create_connection(({json.dumps(host)},{port}),5)')}"


def _span(milliseconds: int) -> str:
    seconds = milliseconds / 1000
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
