"""Every word by which Mizzle says why: what it means, why it comes about, and what to do about it.

A receipt, a decline, a delivery that nobody vouches for, the end of a federation and a command's exit status each carry
one word or number, because a program reads it first. The sentences for people stand here, once; `mizzle explain` prints
them. A test collects the words from the sources and fails when one is missing.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["receipt", "decline", "delivery", "halt", "exit"]


WHERE: Final[Mapping[Kind, str]] = {
    "receipt": "in a receipt",
    "decline": "as a device's reason not to take part",
    "delivery": "of what came to the gateway and was not taken",
    "halt": "as a federation's end",
    "exit": "as an exit status",
}
"""Where a word of each kind is met."""


@dataclass(frozen=True)
class Reason:
    """What `code` means where a message of this kind carries it, and what to do."""

    kind: Kind
    code: str
    what: str
    why: str
    do: str


CONTENT: Final = "content"
"""The one word under which refusals are counted that an honest device's own contents decided."""

REASONS: Final = (
    # How an update ended ---------------------------------------------------------------------------------------------
    Reason(
        "receipt",
        "counted",
        "The update is in a release, with the weight that the receipt names.",
        "Its window was released with it as a member; its device's privacy loss is settled.",
        "nothing: mizzle device status shows it among the counted",
    ),
    Reason(
        "receipt",
        "abandoned",
        "The update's window was given up, and the update with it.",
        "Fewer devices than the plan's window.quorum or privacy.minimum_crowd came before the deadline, or the release"
        " could not be made, as when a strategy misbehaves. Unless noise was drawn, nothing was charged.",
        "nothing on the device; the audit log says why: lower window.quorum, raise window.deadline_s, mend the plug-in",
    ),
    Reason(
        "receipt",
        "unknown-window",
        "The update names a window that the federation has not opened.",
        "The ledger was restored from an old copy, or the device belongs to another one of the same name.",
        "python -m services.ledger verify, and compare its end with one noted earlier",
    ),
    Reason(
        "receipt",
        "late",
        "The window had ended, or was sealed, before the update was there.",
        "The plan says window.late = refuse, so that nothing is folded into a later window; or the open window has"
        " another grid or a weaker privacy contract.",
        "give devices more time: raise window.deadline_s, or set window.late = fold in a new plan",
    ),
    Reason(
        "receipt",
        "stale",
        "The update was trained from a model that is too old by now.",
        "More windows than the plan's window.max_staleness have gone by since the one that it names; or, in a plan with"
        " window.mode = buffered, more versions since the one that it was trained from.",
        "nothing if the device was away; else raise window.max_staleness in a new plan",
    ),
    Reason(
        "receipt",
        "ended",
        "The federation opens no window any more, and the update waited for one.",
        "Its plan has come to its last window, or its privacy budget is spent: explain complete, explain budget.",
        "stop the device, or enrol it in another federation: mizzle device enrol TOKEN",
    ),
    Reason(
        "receipt",
        "already-ended",
        "The update ended long ago; it was sent again after the federation had cleaned up what it knew of it.",
        "The device's outbox went back to an old copy, or the device never heard of the first receipt for longer than"
        " MIZZLE_RETENTION_DAYS.",
        "nothing: it is not counted again; if the outbox was restored, give the device a disk that keeps it",
    ),
    Reason(
        "receipt",
        "restored",
        "The update is of a time that the federation's ledger does not know: it was restored from an older copy.",
        "It may be in a release that was made after the copy, so counting it could count it twice.",
        "nothing: the next window takes new ones; services.ledger verify says when the ledger was restored",
    ),
    Reason(
        "receipt",
        "wrong-plan",
        "The update was made by another plan than the federation works by.",
        "The device has not heard of a new plan yet, or its identity is of an older one.",
        "restart the device: it fetches the plan that its next invitation names",
    ),
    Reason(
        "receipt",
        "wrong-epoch",
        "The update was sealed in another parameter epoch than the federation is in.",
        "Keys or plan have changed since the device was given its identity.",
        "restart the device: it asks for its identity again",
    ),
    Reason(
        "receipt",
        "wrong-base",
        "The update was trained from another model than its window's.",
        "The device holds another release for its window's, or somebody has written the header by hand.",
        "mizzle doctor, on the device",
    ),
    Reason(
        "receipt",
        "uninvited",
        "The device was not invited to the window that the update names.",
        "Only a window's cohort counts in it; a device hears of its invitation alone, unless its home was copied.",
        "mizzle device status, and check that each device has a home of its own",
    ),
    Reason(
        "receipt",
        "second",
        "The device has sent another update for the same window, and the first one counts.",
        "Its outbox was lost or copied after the first was sent, so that it trained again.",
        "mizzle doctor, and give the outbox a disk that survives: one device, one MIZZLE_HOME",
    ),
    Reason(
        "receipt",
        "budget",
        "The device's privacy budget does not allow another update of this weight.",
        "What it has spent and reserved in all its federations would pass the stricter of the plan's budgets.",
        "nothing: the stop is meant; a new plan with a larger budget is the privacy officer's decision",
    ),
    Reason(
        "receipt",
        "oversized",
        "The update announced a payload that is longer than any of this plan can be.",
        "Another codec or model than the plan's, or somebody who tries how much is taken.",
        "python -m pip install --upgrade mizzle, on the device",
    ),
    Reason(
        "receipt",
        "unreadable",
        "A service could not read the update in three tries, and it lies among the dead letters.",
        "Its bytes are broken in a way that nothing before had noticed, or they have met a fault of ours.",
        "python -m services.doctor, and look for `a step failed` in the log of the service that it names",
    ),
    Reason(
        "receipt",
        "shape",
        "The payload is not one of the plan's codec and model.",
        "Another version of the library, another model on the device, or a payload that was made by hand.",
        "python -m pip install --upgrade mizzle, on the device",
    ),
    Reason(
        "receipt",
        "norm",
        "The update is longer than the plan's clip allows. In its window it counts as zero.",
        "The library clips what it sends, so a device with this reason has been tampered with, or codes by itself.",
        "look at the device; an honest one never gets this",
    ),
    Reason(
        "receipt",
        "history",
        "The update is many times as long as its own device's were. In its window it counts as zero.",
        "A changed sensor, a broken trainer, or somebody else at the key.",
        "look at what the device measured since its last counted update",
    ),
    # Why a device does not take part ---------------------------------------------------------------------------------
    Reason(
        "decline",
        "late",
        "The device heard of the window after its deadline.",
        "It was away, or its clock is ahead of the server's.",
        "mizzle doctor",
    ),
    Reason(
        "decline",
        "outbox-full",
        "The outbox holds as many updates, or bytes, as it may, or its disk has no room for another one.",
        "Updates wait for receipts that do not come: the device has been cut off, the federation stands still; or the"
        " device's disk is full, which its log says.",
        "mizzle doctor",
    ),
    Reason(
        "decline",
        "no-model",
        "The window's model or plan did not come before the deadline.",
        "A slow line, or a broker that has lost what is retained; the gateway puts it up again when it connects.",
        "mizzle tap --count 20",
    ),
    Reason(
        "decline",
        "unreadable-plan",
        "The federation's plan cannot be read by this version of the library.",
        "The plan is newer than the device.",
        "python -m pip install --upgrade mizzle",
    ),
    Reason(
        "decline",
        "foreign-plan",
        "The plan that the device was given is another federation's.",
        "The federation's operator has mixed two ledgers, or somebody plays the federation.",
        "mizzle device enrol TOKEN, in an empty MIZZLE_HOME",
    ),
    Reason(
        "decline",
        "battery",
        "The battery is lower than the plan's train.least_battery.",
        "Training would cost more than the device can give.",
        "nothing: it takes part again when it is charged",
    ),
    Reason(
        "decline",
        "heat",
        "The device is hotter than the plan's train.most_celsius.",
        "Training would heat it further.",
        "nothing: it takes part again when it has cooled",
    ),
    Reason(
        "decline",
        "failed",
        "The training function ended with an exception; its trace is in the device's own log.",
        "A fault in the training function, or data that it did not expect.",
        "run the training script on the device by hand and read its stderr",
    ),
    Reason(
        "decline",
        "resting",
        "The device's own program takes no part for now.",
        'Its training function raised mizzle.Decline("resting").',
        "nothing: it takes part again when it has rested",
    ),
    Reason(
        "decline",
        "unknown-codec",
        "The plan's codec, or a field of it, is none that this device has.",
        "The device's program is older than the plan, or the codec is a plug-in of a package that it lacks.",
        "python -m pip install --upgrade mizzle, and the codec's package, on the device",
    ),
    Reason(
        "decline",
        "wrong-shape",
        "What the training function returned does not fit the model.",
        "A tensor is missing, or has another name or shape than in task.weights.",
        "return the module, or a dict with the names and shapes of task.weights",
    ),
    Reason(
        "decline",
        "broken-model",
        "The window's model is no model of the plan, or holds numbers that are NaN or infinite.",
        "It was released before strategies were held to what they may give, or its operator signs something else.",
        "python -m services.doctor, where the services run; a plan with another [combine] strategy makes another model",
    ),
    Reason(
        "decline",
        "not-finite",
        "Training ended in numbers that are NaN or infinite.",
        "The learning rate is too high for this device's data, or a sensor gave NaN.",
        "lower train.learning_rate in the plan, or clean the data",
    ),
    Reason(
        "decline",
        "uncounted",
        "The plan weighs updates by examples, and the task counted none.",
        "The training function goes through its data without task.batches.",
        "go through the data with task.batches(...)",
    ),
    Reason(
        "decline",
        "enrolling",
        "The device is only being enrolled, and trains nothing.",
        "An invitation came while `mizzle device enrol` was waiting.",
        "nothing: start the training script",
    ),
    Reason(
        "decline",
        "declined",
        "The training function declined, and gave a reason in which no letter was left.",
        "mizzle.Decline takes a word of A-Z a-z 0-9 _ -.",
        "raise mizzle.Decline with a word: mizzle.Decline('maintenance')",
    ),
    # What the gateway was sent and nobody vouches for ----------------------------------------------------------------
    Reason(
        "delivery",
        "topic",
        "It came on a topic on which no device of this federation publishes.",
        "A device of another federation on the same broker, or a wrong shard in the topic.",
        "mizzle tap --as gateway --count 20",
    ),
    Reason(
        "delivery",
        "unknown",
        "It came under the name of a device that is not enrolled.",
        "The device lost its enrolment's answer, or its federation was founded anew.",
        "python -m services.ledger token DEVICE, then on the device: mizzle device enrol TOKEN",
    ),
    Reason(
        "delivery",
        "forged",
        "Its signature, purpose or sender is not what its topic says.",
        "A copied home, a key that was made anew without enrolling, or an attack.",
        "mizzle doctor, on the device of that name",
    ),
    Reason(
        "delivery",
        "unreadable",
        "Its bytes are no message of ours.",
        "Another protocol, another version, or somebody who tries what happens.",
        "mizzle tap --as gateway --count 20",
    ),
    Reason(
        "delivery",
        "payload",
        "An update's parts do not make up the payload that its signed header announces.",
        "A part was altered or cut on its way; the device sends all of it again.",
        "nothing, unless it goes on: then look at what lies between device and broker",
    ),
    Reason(
        "delivery",
        "orphan",
        "A later part of an update came, and its first part is not here.",
        "It was forgotten for want of room, or for another update of the device, which asks which parts are missing.",
        "nothing, unless it goes on: mizzle doctor, on the device",
    ),
    Reason(
        "delivery",
        "flood",
        "The device says more than 100 messages a second; what is beyond that is not read.",
        "A device that is broken or hostile; an honest one loses nothing, it sends again until it has its receipt.",
        "mizzle tap --as gateway --count 20, then look at the device of that name",
    ),
    # Why no window opens any more ------------------------------------------------------------------------------------
    Reason(
        "halt",
        "budget",
        "Fewer devices than a quorum may lose any more privacy, so no window opens.",
        "Their losses, in all their federations, have come to the stricter of the plan's budgets.",
        "nothing: the stop is meant; a new federation with new devices, or a larger budget, is a person's decision",
    ),
    Reason(
        "halt",
        "complete",
        "All windows of the plan have ended.",
        "The plan says how many there are: window.windows.",
        "python -m services.ledger create --plan NEXT.toml, to go on with another plan",
    ),
    # How a command ended ---------------------------------------------------------------------------------------------
    Reason("exit", "0", "It did what was asked.", "Everything went well.", "nothing"),
    Reason("exit", "1", "It failed.", "Its last line on stderr says why; a service may have a successor.", "read it"),
    Reason("exit", "2", "It was called wrongly.", "An argument is missing or unknown.", "mizzle --help"),
    Reason(
        "exit",
        "3",
        "A setting is missing or wrong.",
        "The text names the variable, what was wanted and what came.",
        "set it and start again: env | grep MIZZLE_",
    ),
    Reason("exit", "4", "It is not there.", "The text says where it was looked for.", "correct the name"),
    Reason("exit", "5", "It is not allowed.", "The role or name has no right to it.", "ask an admin for the right"),
    Reason(
        "exit",
        "6",
        "A broker or store does not answer.",
        "It is down, another address is set, or a firewall lies between.",
        "mizzle doctor, or where the services run: python -m services.doctor",
    ),
    Reason("exit", "7", "A privacy budget stopped it.", "More would have passed it.", "mizzle explain budget"),
    Reason("exit", "8", "Too few devices took part.", "The quorum was missed.", "mizzle explain abandoned"),
    Reason(
        "exit",
        "9",
        "Something does not verify.",
        "A signature, digest or chain is not what it should be: it was altered, or the key is another one.",
        "do not use it; compare the key with the one that the operator gave you",
    ),
    Reason(
        "exit",
        "10",
        "Something is not healthy.",
        "A check found a fault; each is printed with its next command.",
        "mizzle doctor, or where the services run: python -m services.doctor",
    ),
)


def explained(code: str) -> tuple[Reason, ...]:
    """All that `code` may mean; nothing if it is no word of ours."""
    return tuple(reason for reason in REASONS if reason.code == code)


def similar(code: str) -> tuple[str, ...]:
    """The words nearest to `code`, nearest first."""
    return tuple(difflib.get_close_matches(code, sorted({reason.code for reason in REASONS}), n=3))


def words(kind: Kind) -> frozenset[str]:
    """Every word that a message of this kind carries."""
    return frozenset(reason.code for reason in REASONS if reason.kind == kind)


def countable(refused: str) -> str:
    """The word under which a refusal may be counted before everyone.

    Most words are decided by an envelope, or by contents that no honest device sends (`norm`, `shape`), so they tell
    nothing of an honest device's data. What is left is `history` and the scores of others: conservation publishes how
    many refusals there were, so how many of them are left is known, and which of these they were is not told.
    """
    return refused if refused in words("receipt") - {"history"} else CONTENT
