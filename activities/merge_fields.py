"""The words that vary: merge fields of a message, from the picture, the policy and the effect."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from models.cases import Batch, Email
from models.links import pay_link
from models.picture import Picture
from models.policy import Policy


def merge_fields(
    batch: Batch, picture: Picture, policy: Policy, public_url: str, link_secret: str, email: Email | None = None
) -> dict[str, str | int]:
    """Every field a template may use. Dates are the account's local dates."""
    said = picture.fields
    zone = zone_of(str(said.get("timezone", "")))
    restrict = email.restrict_at if email else None
    suspend = email.suspend_at if email else None
    link = pay_link(public_url, link_secret, batch.case)
    next_attempt = str(said.get("next_attempt", ""))
    name = str(said.get("name", ""))
    return {
        "first_name": name.split()[0] if name else "",
        "company": policy.company.name,
        "product": policy.company.product,
        "postal_address": policy.company.postal_address,
        "support_email": policy.company.support_email,
        "amount": str(said.get("amount", "")),
        "card_last4": said.get("card_last4", ""),
        "invoice_number": said.get("invoice_number", ""),
        "decline": said.get("decline", "soft"),
        "update_url": link,
        "reactivate_url": link,
        "days_left": max(0, _days(batch.now, restrict)) if restrict else 0,
        "restrict_date": _date(restrict, zone),
        "suspend_date": _date(suspend, zone),
        "next_attempt": _date(datetime.fromisoformat(next_attempt), zone) if next_attempt else "",
        "account": batch.account,
        "days_late": _days(batch.since, batch.now),
        "attempts": int(picture.readings.get("attempts", 0)),
        "decline_code": str(picture.readings.get("decline_code", "")),
    }


def zone_of(name: str) -> ZoneInfo:
    """The zone named, or UTC where the name is missing or unknown."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _days(now: datetime, then: datetime | None) -> int:
    return round((then - now) / timedelta(days=1)) if then else 0


def _date(at: datetime | None, zone: ZoneInfo) -> str:
    if at is None:
        return ""
    local = at.astimezone(zone)
    return f"{local:%A} {local.day} {local:%B}"
