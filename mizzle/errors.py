"""Everything Mizzle raises, and what a program can do about each kind.

    MizzleError
    ├── Unreadable        bytes that are no message: bury them with the reason, never retry
    │   ├── Oversized     more bytes, items or depth than the bound allows
    │   ├── Forged        a signature, digest or identity that does not match what was said
    │   └── Outdated      once valid, no longer: a rollback, an expired manifest, a closed epoch
    ├── Away              a broker or store that does not answer: retry with backoff and jitter, for ever
    │   └── Fenced        somebody newer holds this place: forget what you remember and begin again
    ├── Misbehaved        a plug-in raised, or gave what none of its kind may give: end what it was asked about, say why
    └── Misconfigured     the environment is wrong: refuse to start, say which setting and what was wanted

Expected outcomes are messages (`Refusal`, `Receipt`), not exceptions.
"""


class MizzleError(Exception):
    """The root: catch this to catch everything Mizzle raises on purpose."""


class Unreadable(MizzleError):
    """These bytes are no message of ours; no retry will change that."""


class Oversized(Unreadable):
    """The bytes claim or hold more than the bound allows; nothing of that size was allocated."""


class Forged(Unreadable):
    """A signature, digest or identity does not match what the bytes say."""


class Outdated(Unreadable):
    """It was valid once and no longer is: a rollback, an expired manifest, a closed epoch."""


class Away(MizzleError):
    """A broker or store does not answer; it is worth trying again, later, for ever."""


class Fenced(Away):
    """A newer holder has this place, or the store went back in time: begin again from what is stored."""


class Superseded(Fenced):
    """A successor was given this place: whoever had it has nothing left to do."""


class Misbehaved(MizzleError):
    """A plug-in raised, or gave what none of its kind may give: the text names it, and tells nothing of any content."""


class Misconfigured(MizzleError):
    """The environment is wrong: the text names the setting, what was wanted and what came."""
