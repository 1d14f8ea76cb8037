"""What happens, in words that a person can read."""

from mizzle.codec import decode_between_services
from tests.exploration.claims import Broken
from tests.exploration.hands import Question
from tests.exploration.turns import Step


class telling:  # noqa: N801  # read as a word: with telling(...)
    """Says with a broken claim what happened when it broke."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __enter__(self) -> None:
        """Nothing is done."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Broken):
            error.add_note(self._words)


def about(steps: list[Step]) -> str:
    """What a turn says."""
    read = [body for step in steps if step.question[0] == "commit" for _, body in step.question[4]]
    said = ", ".join(type(decode_between_services(body)).__name__ for body in read)
    return f", and says {said}" if said else ""


def worded(question: Question) -> str:
    """An effect, as what a process does."""
    match question:
        case ("book", _, asked):
            names = ", ".join(type(decode_between_services(body)).__name__ for body, *_ in asked)
            return f"booking of {names}"
        case ("commit" | "append", *_):
            return "commit to Redis"
        case _:
            word: str = question[0]
            return {"take": "taking of the place", "put": "keeping of a blob", "tell": "telling"}.get(word, word)
