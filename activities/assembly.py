"""Puts the outside systems together, one way for workers, tests and the demo."""

from dataclasses import dataclass

import stripe

from activities.access import ProductAccess
from activities.billing import Billing
from activities.carry_out import Effects
from activities.crm import Crm
from activities.doubts import LookUps
from activities.merge_fields import Fields
from activities.messages import Outbox, Postroom, SendGridMail
from activities.offers import Offers
from activities.scans import Scans
from activities.systems import Inside, Watch
from activities.systems import Outside as System
from activities.watches import known_watches
from models.database import Database
from models.policy import PolicyFile


@dataclass(frozen=True)
class Outside:
    """Where the outside systems are. Without a SendGrid key mails stay in the outbox."""

    stripe: stripe.StripeClient
    sendgrid_key: str = ""
    sendgrid_base: str = ""
    product_url: str = ""
    product_secret: str = ""
    product_private: bool = False
    """Whether the product may be at a private or loopback address."""
    public_url: str = ""
    link_secret: str = ""


@dataclass(frozen=True)
class Assembled:
    """The one door, the scans, billing for those who only read, and what can be asked about effects in doubt."""

    effects: Effects
    scans: Scans
    billing: Billing
    look_ups: LookUps
    stripe: stripe.StripeClient


def assemble(database: Database, policy: PolicyFile, outside: Outside) -> Assembled:
    """Build every system with its client."""
    fields = Fields(outside.public_url, outside.link_secret)
    postroom = Postroom(database, policy, fields)
    billing = Billing(database, outside.stripe)
    offers = Offers(database, outside.stripe)
    access = ProductAccess(database, outside.product_url, outside.product_secret, allow_private=outside.product_private)
    crm = Crm(policy, fields)
    watches: list[Watch] = [billing, *known_watches(database, policy)]
    inside: list[Inside] = [crm]
    systems: list[System] = [billing, offers, access]
    if outside.sendgrid_key:
        systems.append(SendGridMail(database, postroom, outside.sendgrid_key, outside.sendgrid_base or None))
    else:
        inside.append(Outbox(postroom))
    effects = Effects(database, policy, watches, inside=inside, outside=systems, topic_of=postroom.topic)
    look_ups = LookUps.over(database, watches, systems)
    return Assembled(effects, Scans(database, policy), billing, look_ups, outside.stripe)
