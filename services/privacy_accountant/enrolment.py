"""Let a device belong that shows its token's secret, and send it the same identity whenever it asks again."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

import structlog

from mizzle.device.enrol import proof
from mizzle.envelope import Purpose, seal
from mizzle.messages import Answer, BlobRef, Identity
from services.ledger import enrolments, federations
from services.ledger.enrolments import Device

if TYPE_CHECKING:
    from mizzle.messages import Enrolment, Message
    from services.ledger.enrolments import Token
    from services.privacy_accountant.page import Page

REFUSED: Final = "enrolment.refused"

_log = structlog.get_logger()


def enrolled(page: Page, asked: Enrolment) -> list[Message]:
    """The device's identity; nothing for whoever may not have one."""
    known = enrolments.device(page.tx, page.federation, asked.device)
    if known is not None and known.public_key == asked.public_key:
        return [_answer(asked.device, known)]
    token = enrolments.token(page.tx, page.federation, asked.device)
    why = "another key is enrolled under this name" if known else _fault(page, asked, token)
    if why is not None:
        _log.warning("enrolment refused", device=asked.device, why=why)
        page.audit_stranger(REFUSED, asked.device, public_key=asked.public_key.hex(), why=why)
        return []
    device = Device(asked.public_key, _identity(page, asked))
    enrolments.enrol(page.tx, page.federation, asked.device, device, page.now)
    page.audit("device.enrolled", asked.device, public_key=asked.public_key.hex())
    return [_answer(asked.device, device)]


def _fault(page: Page, asked: Enrolment, token: Token | None) -> str | None:
    if asked.federation != page.federation:
        return f"asks to belong to {asked.federation}"
    if token is None:
        return "no token was made for this device"
    if token.used_at is not None:
        return "its token was used"
    if token.expires_at < page.now:
        return "its token has expired"
    wanted = proof(token.secret_digest, page.federation, asked.device, asked.public_key)
    return None if hmac.compare_digest(wanted, asked.proof) else "its proof is not made with the token's secret"


def _identity(page: Page, asked: Enrolment) -> bytes:
    plan = page.plan
    identity = Identity(
        federation=page.federation,
        device=asked.device,
        public_key=asked.public_key,
        keys=federations.server_keys(page.tx, page.federation),
        plan=BlobRef(digest=plan.digest, size=len(plan.canonical)),
        epoch=page.ground.epoch,
    )
    return seal(identity, Purpose.IDENTITY, page.ground.signer, page.ground.epoch, counter=page.now)


def _answer(device: str, known: Device) -> Answer:
    return Answer(device=device, kind="identity", sealed=known.identity)
