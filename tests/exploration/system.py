"""The system that is explored: the real services, loop, ledger and fence, each of which a wrong one may replace."""

from dataclasses import dataclass, field
from typing import Any, Literal

from services.aggregator import combine
from services.anomaly_detector import judge
from services.gateway import deliver
from services.pipeline import hop
from services.privacy_accountant import book, charge
from services.releaser import release
from services.runtime.service import Service
from services.runtime.stage import Stage
from tests.exploration import streams
from tests.exploration.shelf import Book
from tests.exploration.streams import Fence


def services() -> dict[str, Service[Any]]:
    """The services as they are."""
    made = (
        Service(hop("gateway"), deliver.begin, deliver.step, tell=lambda _: None),
        Service(hop("anomaly_detector"), judge.begin, judge.step),
        Service(hop("privacy_accountant"), charge.begin, charge.step, book=lambda *_: ()),
        Service(hop("aggregator"), combine.begin, combine.step),
        Service(hop("releaser"), release.begin, release.step),
    )
    return {service.hop.service: service for service in made}


@dataclass(frozen=True)
class System:
    """What is explored; each of its parts may be a wrong one."""

    services: dict[str, Service[Any]] = field(default_factory=services)
    loop: type[Stage[Any]] = Stage
    book: Book = book.book
    fence: Fence = streams.fenced
    clears: Literal["receipt", "puback"] = "receipt"
    epochs: Literal["ledger", "redis"] = "ledger"
