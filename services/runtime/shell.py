"""What every `python -m services.NAME` does around its loop: settings, logs, signals, health, a telling exit code.

    python -m services.NAME          run until SIGTERM or SIGINT; what is in hand is finished and committed first
    python -m services.NAME health   one line of JSON: is it well?

Exit: 0 ended as asked, or well; 1 a successor has taken over, or it broke; 2 usage; 3 configuration; 10 not well.
"""

from __future__ import annotations

import gc
import json
import logging
import signal
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from mizzle import failpoints
from mizzle.errors import Away, Misconfigured, MizzleError, Superseded
from services.ledger.ledger import Ledger
from services.runtime.about import with_subject
from services.runtime.equipment import Equipment, equip, log_of
from services.runtime.metrics import shown
from services.runtime.settings import from_environment
from services.runtime.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client.registry import Collector

    from mizzle.messages import Message
    from mizzle.moves import Ground
    from services.pipeline import Hop
    from services.runtime.service import Booking, Service
    from services.runtime.settings import Places, Settings

    Book = Callable[[Ledger, Ground, int, Sequence[Booking]], Iterable[Message]]
    Figures = Callable[[Equipment], Iterable[Collector]]
    Work = Callable[[Equipment, Callable[[], bool]], None]

S = TypeVar("S")

FAILED, USAGE, CONFIGURATION, UNHEALTHY = 1, 2, 3, 10
FRESH_MS: Final = 5000
"""A loop whose pulse is older does not turn."""

_log = structlog.get_logger()


def serve(service: Service[S], *, book: Book | None = None, figures: Figures | None = None) -> None:
    """Be this service, or say whether it is well; then exit. `figures` are what it shows beside its own loop."""
    attend(service.hop, partial(_turn, service, book, figures))


def attend(hop: Hop, work: Work) -> None:
    """Do `work` as the service at `hop`, or say whether it is well, as the command line asks; then exit."""
    sys.exit(_attended(hop, work, sys.argv[1:]))


def health(hop: Hop, settings: Places) -> dict[str, Any]:
    """Whether the service is well: its Redis and its ledger answer, and its loop has turned within 5 s."""
    report: dict[str, Any] = {"service": hop.service, "healthy": False, "pulse_age_ms": None, "why": ""}
    try:
        pulse = log_of(hop, settings, Ledger.open(settings.ledger, settings.federation)).pulse()
    except MizzleError as error:
        return report | {"why": str(error)}
    if pulse is None:
        return report | {"why": f"{hop.service} has never turned here: start it, or see in its log what it waits for"}
    age = time.time_ns() // 1_000_000 - pulse
    is_fresh = abs(age) < FRESH_MS  # a pulse from the future says as little as one from the past
    late = f"{hop.service} last turned {age} ms ago, wanted less than {FRESH_MS}: see its log, start it again"
    return report | {"healthy": is_fresh, "pulse_age_ms": age, "why": "" if is_fresh else late}


def _attended(hop: Hop, work: Work, arguments: Sequence[str]) -> int:
    try:
        settings = from_environment()
        match arguments:
            case []:
                failpoints.arm()
                _log_in_json(hop, settings.log_level)
                return _work(hop, settings, work)
            case ["health"]:
                report = health(hop, settings)
                print(json.dumps(report))  # noqa: T201  # data goes to stdout
                return 0 if report["healthy"] else UNHEALTHY
    except Misconfigured as error:
        return _end(str(error), CONFIGURATION)
    return _end(f"usage: python -m services.{hop.service} [health]", USAGE)


def _work(hop: Hop, settings: Settings, work: Work) -> int:
    stopping = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda _signum, _frame: stopping.set())
    try:
        equipment = _equipped(hop, settings, stopping)
        if equipment is not None:
            _spare_what_stays()
            with shown(equipment.registry, settings.metrics):
                work(equipment, stopping.is_set)
    except Superseded as error:
        return _end(str(error), FAILED)
    return 0


def _equipped(hop: Hop, settings: Settings, stopping: threading.Event) -> Equipment | None:
    """What the service stands on, once the ledger answers; None if we are to stop before."""
    while not stopping.is_set():
        try:
            return equip(hop, settings)
        except Away as away:
            _log.warning("wait", why=str(away))
            stopping.wait(1.0)
    return None


def _spare_what_stays() -> None:
    """Let the collection of garbage never look again at what is here for good: modules, plan, tables, statements.

    That was a tenth of the accountant's work.
    """
    gc.collect()
    gc.freeze()


def _turn(
    service: Service[S],
    book: Book | None,
    figures: Figures | None,
    equipment: Equipment,
    stopping: Callable[[], bool],
) -> None:
    for collector in figures(equipment) if figures is not None else ():
        equipment.registry.register(collector)
    if book is not None:
        service = replace(service, book=partial(book, equipment.ledger, equipment.ground))
    Stage(service, equipment.ground, equipment.stores, equipment.settings.batch, equipment.meters).run(stopping)


def _end(text: str, code: int) -> int:
    print(text, file=sys.stderr)  # noqa: T201  # talk goes to stderr
    return code


def _log_in_json(hop: Hop, level: str) -> None:
    """One JSON object a line to stderr, whether we log by structlog or a library by logging."""

    def named(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"service": hop.service, **event}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        with_subject,
        named,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    lines = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        foreign_pre_chain=shared,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(lines)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
