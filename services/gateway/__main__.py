"""Receive what devices publish and deliver what services say, over one line to the broker."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from mizzle import topics
from mizzle.transport.mqtt_bus import MqttBus
from services.gateway import deliver, receive
from services.gateway.courier import Courier
from services.gateway.deliver import Delivery
from services.gateway.heartbeat import Heartbeat, will
from services.gateway.intake import RECEIVE_MAXIMUM, Inbox, Intake
from services.gateway.mirror import Mirror, Originals
from services.pipeline import hop
from services.runtime.companions import Companions
from services.runtime.shell import FAILED, attend
from services.runtime.stage import Service, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mizzle.messages import Message
    from mizzle.transport.bus import BusEvent
    from services.runtime.equipment import Equipment

GATEWAY = hop("gateway")


def work(equipment: Equipment, stopping: Callable[[], bool]) -> None:
    """Be the gateway until `stopping()`, or until one of its threads has ended."""
    ground, settings = equipment.ground, equipment.settings
    federation = ground.plan.federation
    bus = MqttBus(
        settings.broker, GATEWAY.service, will=will(federation), receive_maximum=RECEIVE_MAXIMUM, manual_ack=True
    )
    heartbeat, courier, inbox = Heartbeat(bus, federation), Courier(bus), Inbox()
    mirror = Mirror(Originals.of(equipment), courier)
    intake = Intake(
        bus,
        inbox,
        heartbeat,
        GATEWAY,
        receive.begin(ground.plan),
        equipment.ledger.device_key,
        equipment.stores.spool,
        equipment.stores.log,
    )
    delivery = Delivery(federation, courier, mirror, equipment.stores.spool)
    service = Service(GATEWAY, deliver.begin, deliver.step, tell=delivery.tell, is_well=heartbeat.is_heard)

    def heard(event: BusEvent) -> None:
        for listener in (heartbeat, courier, mirror, inbox):
            listener.listen(event)

    def facts() -> Iterable[Message]:
        # Redis may have lost what devices said of themselves: a new subscription brings again what is retained of it.
        bus.subscribe(topics.every_up(federation))
        return equipment.stores.facts()

    bus.open(heard)
    bus.subscribe(topics.state(federation))
    stage = Stage(service, ground, replace(equipment.stores, facts=facts), settings.batch)
    try:
        with Companions(intake.run, mirror.run) as companions:
            stage.run(lambda: stopping() or companions.one_has_fallen())
        heartbeat.stop()
    finally:
        bus.close()
    if companions.one_has_fallen():
        sys.exit(FAILED)


if __name__ == "__main__":
    attend(GATEWAY, work)
