"""Checks of the providers: Stripe's key, clock and webhook endpoint, SendGrid's key, a CRM outside."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import orjson
import python_http_client.exceptions as http_errors
import stripe
from sendgrid import SendGridAPIClient
from sqlmodel import col, func, select

from models.crm import DEAL_STAGES, Closed, lacking
from models.crm_rows import CrmRecord
from models.stripe_events import READERS
from workers.crm_clients import crm_client
from workers.findings import Finding, Patient

MOST_SKEW: Final = timedelta(seconds=60)
"""Stripe's signatures are refused beyond five minutes, and codes of ours say when something is due."""
TIMEOUT_S: Final = 10
IN_VAIN: Final = 6
"""So often is a record written to the CRM in vain before it is worth a word."""


async def stripe_takes_the_key(patient: Patient) -> AsyncIterator[Finding]:
    """The key works, and Stripe's clock and ours agree."""
    try:
        page = await patient.stripe.v1.events.list_async({"limit": 1})
    except stripe.AuthenticationError:
        do = "put the key from Stripe's dashboard into STRIPE_API_KEY"
        yield Finding("Stripe", "wrong", "Stripe does not take STRIPE_API_KEY", do)
        return
    except stripe.PermissionError:
        do = "give the restricted key read access to events, invoices, charges, customers and subscriptions"
        yield Finding("Stripe", "wrong", "STRIPE_API_KEY may not read Stripe's events, which the sweep needs", do)
        return
    yield Finding("Stripe", "well", "Stripe takes the key")
    said = page.last_response.headers.get("date") if page.last_response else None
    if said is None:
        yield Finding("clock", "unknown", "Stripe's answer has no Date header", "compare this machine's clock by hand")
        return
    skew = abs(patient.now() - parsedate_to_datetime(said))
    if skew > MOST_SKEW:
        what = f"this machine's clock and Stripe's are {skew.total_seconds():.0f} seconds apart"
        yield Finding("clock", "wrong", what, "let NTP set it: signatures of webhooks are refused by the clock")
    else:
        yield Finding("clock", "well", "this machine's clock agrees with Stripe's")


async def stripe_knows_our_endpoint(patient: Patient) -> AsyncIterator[Finding]:
    """A webhook endpoint points here, is enabled, and sends every kind of event that we act on."""
    url = f"{patient.settings.public_url.rstrip('/')}/webhooks/stripe"
    page = await patient.stripe.v1.webhook_endpoints.list_async({"limit": 100})
    endpoints = [each.to_dict() async for each in page.auto_paging_iter()]
    ours = [each for each in endpoints if each["url"] == url]
    if not ours:
        do = f"register {url} at Stripe with the events that README.md lists, and copy its secret"
        yield Finding("webhook endpoint", "wrong", f"Stripe has no webhook endpoint {url}", do)
        return
    enabled = [each for each in ours if each["status"] == "enabled"]
    if not enabled:
        what = f"the webhook endpoint {url} is disabled at Stripe"
        yield Finding(
            "webhook endpoint", "wrong", what, "enable it; `holdfast reconcile --apply` fetches what was missed"
        )
        return
    sent = {kind for each in enabled for kind in each["enabled_events"]}
    lacking = [] if "*" in sent else sorted(READERS.keys() - sent)
    if lacking:
        what = f"the webhook endpoint does not send {', '.join(lacking)}"
        yield Finding("webhook endpoint", "wrong", what, "add these events to the endpoint at Stripe")
    else:
        yield Finding("webhook endpoint", "well", "Stripe sends every kind of event that is acted on")


async def sendgrid_takes_the_key(patient: Patient) -> AsyncIterator[Finding]:
    """The key works and may send."""
    key = patient.settings.sendgrid_api_key.get_secret_value()
    if not key:
        yield Finding("SendGrid", "well", "no SendGrid key is set: mails stay in the outbox")
        return
    base = patient.settings.sendgrid_api_base
    api = SendGridAPIClient(key, **({"host": base} if base else {}))
    api.client.timeout = TIMEOUT_S
    try:
        answer = await asyncio.to_thread(lambda: api.client.scopes.get())
    except http_errors.HTTPError as error:
        if error.status_code not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise
        yield Finding(
            "SendGrid", "wrong", "SendGrid does not take SENDGRID_API_KEY", "make a key with Mail Send access"
        )
        return
    if "mail.send" not in orjson.loads(answer.body).get("scopes", []):
        yield Finding("SendGrid", "wrong", "SENDGRID_API_KEY may not send mail", "give the key Mail Send access")
    else:
        yield Finding("SendGrid", "well", "SendGrid takes the key, and it may send")


async def the_crm_has_what_is_written_to_it(patient: Patient) -> AsyncIterator[Finding]:
    """The CRM outside, if there is one, takes the key and has the attributes; nothing of it waits for a person."""
    wanted = patient.policy.crm
    if not wanted.provider:
        yield Finding("CRM", "well", "no CRM outside: tasks, deals and health are kept in our own tables")
        return
    client = crm_client(patient.settings, wanted)
    if client is None:
        return
    try:
        _, found = lacking(wanted, await client.schema(), DEAL_STAGES)
    except Closed as error:
        yield Finding("CRM", "wrong", str(error), f"make a key with access to what docs/crm.md names: {client.name}")
        return
    finally:
        await client.close()
    for sentence in [*found.fatal, *found.left_out]:
        what, _, do = sentence.rpartition(". ")
        yield Finding("CRM", "wrong", f"{client.name}: {what or do}", do if what else "see docs/crm.md")
    async with patient.database.reading() as session:
        waiting = select(func.count()).where(CrmRecord.state == "refused")
        refused = (await session.exec(waiting)).one()
        vain = select(CrmRecord).where(col(CrmRecord.state).in_(("waits", "in_doubt")), CrmRecord.tries >= IN_VAIN)
        stuck = (await session.exec(vain.order_by(col(CrmRecord.key)).limit(1))).first()
    if refused:
        what = f"{refused} records are not in {client.name} as they should be; a person is asked about each"
        yield Finding("CRM", "wrong", what, "answer the tasks; `holdfast crm list` has the reasons")
    if stuck:
        what = f"{stuck.key} was tried {stuck.tries} times in vain: {stuck.reason}"
        yield Finding("CRM", "wrong", what, "see what it says; `holdfast crm list` has the others, if there are any")
    if not (refused or stuck or found.fatal or found.left_out):
        what = f"{client.name} has everything that is written to it, and nothing waits for a person"
        yield Finding("CRM", "well", what)
