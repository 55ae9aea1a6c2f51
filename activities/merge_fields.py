"""The words that vary: merge fields of a message, from the picture, the policy and the effect."""

from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from models.cases import Banner, Batch, Email, Task
from models.links import link
from models.picture import Person, Picture
from models.policy import Policy
from models.topics import ANY, TOPICS
from models.zones import zone_named


class Terms(Protocol):
    """What a mail says of an offer: the row of the database, or what a preview makes up."""

    @property
    def key(self) -> str:
        """What the link to its page is made of."""

    @property
    def pct(self) -> int:
        """How much less."""

    @property
    def months(self) -> int:
        """For how long."""

    @property
    def expires_at(self) -> datetime:
        """Until when it can be taken."""


class Fields:
    """Makes merge fields; one for each process, with what every message shares."""

    def __init__(self, public_url: str, link_secret: str) -> None:
        self._public_url = public_url
        self._secret = link_secret

    def of(
        self,
        batch: Batch,
        picture: Picture,
        policy: Policy,
        effect: Email | Banner | Task,
        *,
        offer: Terms | None = None,
        topic: str = "",
    ) -> dict[str, str | int]:
        """Every field a template may use. Dates are the local dates of whom it is written to."""
        person = picture.person("billing" if isinstance(effect, Banner) else effect.to) or Person()
        zone = zone_of(person.timezone)
        fields: dict[str, str | int] = {
            **self._always(batch, person, policy),
            **self._ways_out(batch.account, person, topic),
            **picture.fields,
            **effect.fields,
            **{name: date_in(at, zone) for name, at in effect.dates.items()},
        }
        next_attempt = str(fields.get("next_attempt", ""))
        fields["next_attempt"] = date_in(datetime.fromisoformat(next_attempt), zone) if next_attempt else ""
        restrict = effect.dates.get("restrict_date")
        if restrict:
            fields["days_left"] = max(0, _days(batch.now, restrict))
        if offer:
            fields |= {
                "pct": offer.pct,
                "months": offer.months,
                "pause_months": offer.months,
                "expires": date_in(offer.expires_at, zone),
                "offer_url": link(self._public_url, self._secret, "offer", offer.key),
            }
        return fields

    def _ways_out(self, account: str, person: Person, topic: str) -> dict[str, str]:
        """Unsubscribing leaves marketing mail; so the link in other mail that one can leave is the way to its topic."""
        choose = self.preferences_url(account, person, topic)
        kept = topic in TOPICS and not TOPICS[topic].marketing
        leave = choose if kept else self.unsubscribe_url(account, person)
        return {"preferences_url": choose, "unsubscribe_url": leave}

    def unsubscribe_url(self, account: str, person: Person) -> str:
        """Where this person, or for the billing contact the whole account, opts out of marketing mail (T4.3)."""
        return link(self._public_url, self._secret, "unsubscribe", f"{account} {person.id}".strip())

    def preferences_url(self, account: str, person: Person, topic: str) -> str:
        """Where this person chooses what they get mails about; one click there leaves `topic`, if one can choose it."""
        about = topic if topic in TOPICS else ANY
        return link(self._public_url, self._secret, "preferences", f"{about} {account} {person.id}".strip())

    def _always(self, batch: Batch, person: Person, policy: Policy) -> dict[str, str | int]:
        pay = link(self._public_url, self._secret, "pay", batch.case)
        return {
            "first_name": person.name.split()[0] if person.name.strip() else "",
            "company": policy.company.name,
            "product": policy.company.product,
            "postal_address": policy.company.postal_address,
            "support_email": policy.company.support_email,
            "account": batch.account,
            "account_name": "",
            "csm_name": f"your team at {policy.company.name}",
            "csm_email": policy.company.support_email,
            "executive_name": policy.people.executive_name,
            "value": "not on record",
            "goals": "",
            "handoff": "",
            "open_items": "",
            "usage_summary": "",
            "feature": policy.words.feature,
            "decline": "soft",
            "days_left": 0,
            "days_late": _days(batch.since, batch.now),
            "days": _days(batch.since, batch.now),
            "update_url": pay,
            "reactivate_url": pay,
            "app_url": policy.links.app,
            "article_url": policy.links.article,
            "tutorial_url": policy.links.tutorial,
            "booking_url": policy.links.booking,
            "wizard_url": policy.links.wizard,
            "help_url": policy.links.help,
            "story_url": policy.links.story,
            "story": policy.words.story,
            "value_metric": policy.words.value_metric,
            "updates": policy.words.updates,
        }


def zone_of(name: str) -> ZoneInfo:
    """The zone named, or UTC where the name is missing or unknown."""
    return zone_named(name) or ZoneInfo("UTC")


def date_in(at: datetime, zone: ZoneInfo) -> str:
    """A date as people say it, where they are: Monday 14 December."""
    local = at.astimezone(zone)
    return f"{local:%A} {local.day} {local:%B}"


def _days(now: datetime, then: datetime) -> int:
    return round((then - now) / timedelta(days=1))


def day_in_words(day: date) -> str:
    """A calendar day as people say it: Monday 14 December 2026."""
    return f"{day:%A} {day.day} {day:%B %Y}"
