"""Receive what devices publish and deliver what services say, over two lines to the broker.

Two, because a line that is not read for want of room carries no acknowledgements either: an answer that ends an update,
and so makes room, must not wait behind the updates that wait for room.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mizzle import topics
from mizzle.codec import encode
from mizzle.messages import Sighting
from mizzle.transport.mqtt_bus import MqttBus
from mizzle.transport.passwords import read as read_password
from services.gateway import deliver, receive
from services.gateway.comings import Comings
from services.gateway.courier import Courier
from services.gateway.deliver import Delivery
from services.gateway.figures import GatewayFigures
from services.gateway.heartbeat import Heartbeat, will
from services.gateway.intake import RECEIVE_BYTES, RECEIVE_MAXIMUM, Inbox, Intake
from services.gateway.lookout import Lookout
from services.gateway.mirror import Mirror, Originals
from services.gateway.sweep import sweep
from services.pipeline import hop
from services.runtime.companions import Companions
from services.runtime.redis_log import Output
from services.runtime.service import Service
from services.runtime.shell import FAILED, attend
from services.runtime.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mizzle.messages import Message
    from mizzle.transport.bus import Bus, BusEvent, Listener
    from services.runtime.equipment import Equipment

GATEWAY = hop("gateway")
SHARE_ARRIVING = 4
"""Of the payload store's room a quarter is for updates that are not complete: they never keep out those that are."""
MOST_BACKOFF_S = 2.0  # the broker is a neighbour, and a whole fleet waits for us


def work(equipment: Equipment, stopping: Callable[[], bool]) -> None:
    """Be the gateway until `stopping()`, or until one of its threads has ended."""
    coming, going = _lines(equipment)
    heartbeat = Heartbeat(going, coming, equipment.ground.plan.federation)
    courier, inbox, lookout = Courier(going), Inbox(), _lookout(equipment, coming)
    mirror = Mirror(Originals.of(equipment), courier, lookout.has_looked, lambda: lookout.newest)
    intake = _intake(equipment, coming, going, inbox, heartbeat)
    stage = _delivery(
        equipment, coming, Delivery(heartbeat.federation, courier, mirror, equipment.stores.spool), heartbeat
    )
    equipment.registry.register(GatewayFigures(equipment.meters, heartbeat.is_heard))
    coming.open(_each(inbox.listen, heartbeat.listen, lookout.listen))
    going.open(_each(courier.listen, mirror.listen, heartbeat.listen))
    try:
        with Companions(intake.run, mirror.run, lookout.run) as companions:
            stage.run(lambda: stopping() or companions.one_has_fallen())
        heartbeat.stop()
    finally:
        coming.close()
        going.close()
    if companions.one_has_fallen():
        sys.exit(FAILED)


def _lines(equipment: Equipment) -> tuple[Bus, Bus]:
    """The line that updates come on and the one that answers go out on; neither is open yet."""
    federation, settings = equipment.ground.plan.federation, equipment.settings
    line = partial(
        MqttBus,
        settings.broker,
        password=read_password(settings.broker_password_file) if settings.broker_password_file else None,
        max_backoff_s=MOST_BACKOFF_S,
    )
    coming = line("gateway", receive_maximum=RECEIVE_MAXIMUM, receive_bytes=RECEIVE_BYTES, manual_ack=True)
    for topic in (topics.every_up(federation), topics.release(federation), topics.state(federation)):
        coming.subscribe(topic)
    return coming, line("gateway-delivery", will=will(federation))


def _intake(equipment: Equipment, coming: Bus, going: Bus, inbox: Inbox, heartbeat: Heartbeat) -> Intake:
    spool = equipment.stores.spool
    room = min(receive.MOST_ARRIVING, equipment.settings.payload_bytes // SHARE_ARRIVING)
    spool.set_aside(room)
    spool.sweep_unfinished()
    return Intake(
        coming,
        inbox,
        heartbeat,
        GATEWAY,
        receive.begin(equipment.ground.plan, room),
        equipment.ledger.device_key,
        equipment.ledger.receipt,
        partial(going.publish, lasting=False),
        Comings(equipment.settings.payloads / "coming"),
        spool,
        equipment.stores.log,
        equipment.meters,
    )


def _delivery(equipment: Equipment, coming: Bus, delivery: Delivery, heartbeat: Heartbeat) -> Stage[deliver.Nothing]:
    def facts() -> Iterable[Message]:
        # Redis may have lost what devices said of themselves: a new subscription brings again what is retained of it.
        coming.subscribe(topics.every_up(heartbeat.federation))
        # And it may have lost that updates have ended, so that their payloads would be kept for ever.
        sweep(equipment.stores.spool, equipment.ledger.unneeded)
        return equipment.stores.facts()

    service = Service(GATEWAY, deliver.begin, deliver.step, tell=delivery.tell, is_well=heartbeat.is_heard)
    stores = replace(equipment.stores, facts=facts)
    return Stage(service, equipment.ground, stores, equipment.settings.batch, equipment.meters)


def _lookout(equipment: Equipment, coming: Bus) -> Lookout:
    ledger, log = equipment.ledger, equipment.stores.log

    def known() -> int:
        return max((release.version for release in ledger.releases(1)), default=0)

    def tell(sighting: Sighting) -> None:
        log.append([Output(stream, encode(sighting)) for stream in GATEWAY.says[Sighting]])

    return Lookout(coming, ledger.federation, ledger.server_key("release") or b"", known, tell)


def _each(*listeners: Listener) -> Listener:
    def listen(event: BusEvent) -> None:
        for listener in listeners:
            listener(event)

    return listen


if __name__ == "__main__":
    attend(GATEWAY, work)
