"""The three processes of a running Holdfast: web, relay, worker. Each runs until it is told to stop."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from temporalio.service import RetryConfig

from activities.assembly import Assembled, Outside, assemble
from activities.billing import close_stripe_client, stripe_client
from models.database import Database
from models.policy import PolicyFile
from web.app import WebSettings, create_app
from web.codec import create_codec_app
from web.events import EventsEndpoint
from web.segment import SegmentEndpoint
from web.sendgrid import SendGridEndpoint
from web.webhooks import StripeEndpoint
from workers.authoring import catalogue_for_the_web, samples_for_the_web
from workers.codec import EncryptingCodec
from workers.codec_server import codec_access
from workers.connect import TASK_QUEUE, connect, ensure_search_attributes, playbook_worker
from workers.crm_clients import crm_client
from workers.crm_mirror import Mirror, mirror_for_ever
from workers.databases import open_database
from workers.letter_check import make_sure
from workers.metrics_port import SdkMetrics, metrics_served, text_of, this_process
from workers.relay import Relay
from workers.relay_metrics import RelayMetrics
from workers.routing import Router, heard_kinds
from workers.schedules import ensure_or_warn
from workers.serving import serve
from workers.settings import Settings
from workers.settler import Settler, asks_temporal, settle_for_ever
from workers.sweep import sweep_for_ever
from workflows import PLAYBOOKS
from workflows.steps import name_of


def log_to_stderr() -> None:
    """Structured logs on standard error: readable on a terminal, JSON elsewhere. Never a payload or an address."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def told_to_stop() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    return stop


@asynccontextmanager
async def outside_world(settings: Settings, database: Database) -> AsyncIterator[Assembled]:
    """The outside systems as the settings name them."""
    stripe = stripe_client(settings.stripe_api_key.get_secret_value(), settings.stripe_api_base or None)
    outside = Outside(
        stripe=stripe,
        sendgrid_key=settings.sendgrid_api_key.get_secret_value(),
        sendgrid_base=settings.sendgrid_api_base,
        product_url=settings.product_webhook_url,
        product_secret=settings.product_webhook_secret.get_secret_value(),
        product_private=settings.product_may_be_private,
        public_url=settings.public_url,
        link_secret=settings.link_secret.get_secret_value(),
    )
    try:
        yield assemble(database, PolicyFile.read(settings.holdfast_policy), outside)
    finally:
        await close_stripe_client(stripe)


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Take steps until told to stop; running activities are waited for, so that no charge is cut.

    Raises:
        LettersLackFields: a letter could not be written; nothing is begun.
    """
    await asyncio.to_thread(make_sure, PolicyFile.read(settings.holdfast_policy))
    sdk = SdkMetrics(settings)
    client = await connect(settings, runtime=sdk.runtime)
    await ensure_search_attributes(client)
    async with (
        metrics_served(settings, text_of(this_process()), sdk.text),
        open_database(settings) as database,
        outside_world(settings, database) as world,
        playbook_worker(client, world.effects, world.scans),
    ):
        await ensure_or_warn(client, world.scans.policy.default)
        structlog.get_logger().info("worker.ready")
        await stop.wait()


async def run_relay(settings: Settings, stop: asyncio.Event) -> None:
    """Carry inbox rows to Temporal until told to stop; fetch lost events, and ask for what is in doubt, meanwhile."""
    # The relay has its own way of waiting for Temporal; long retries inside one call would only outlast its lease.
    patience = RetryConfig(max_elapsed_time_millis=2000, max_retries=3)
    sdk, metrics = SdkMetrics(settings), RelayMetrics()
    client = await connect(settings, retry_config=patience, runtime=sdk.runtime)
    await ensure_search_attributes(client)
    async with (
        metrics_served(settings, text_of(metrics.registry), sdk.text),
        open_database(settings) as database,
        outside_world(settings, database) as world,
    ):
        policy = PolicyFile.read(settings.holdfast_policy)
        router = Router(policy)
        relay = Relay(
            database,
            client,
            router,
            world.billing.customer_of_charge,
            learn_account=world.billing.learn_account,
            metrics=metrics,
        )
        settler = Settler(database, world.look_ups, asks_temporal(client), router.default_owner)
        structlog.get_logger().info("relay.ready")
        await asyncio.gather(
            relay.run(stop),
            settle_for_ever(settler, stop, every_s=settings.holdfast_settle_s, succeeded=metrics.succeeded),
            sweep_for_ever(
                database,
                world.stripe,
                stop,
                livemode=settings.livemode,
                every_s=settings.holdfast_sweep_s,
                succeeded=metrics.succeeded,
            ),
            metrics.look_for_ever(client, TASK_QUEUE, stop) if settings.metrics_port else asyncio.sleep(0),
            keep_the_crm_up_to_date(settings, policy, database, router.default_owner, stop),
        )


async def keep_the_crm_up_to_date(
    settings: Settings, policy: PolicyFile, database: Database, default_owner: str, stop: asyncio.Event
) -> None:
    """Write into the CRM outside until told to stop, where the policy file names one."""
    client = crm_client(settings, policy.crm)
    if client is None:
        return
    try:
        mirror = Mirror(database, client, policy.crm, default_owner)
        await mirror_for_ever(mirror, stop, every_s=settings.holdfast_crm_s)
    finally:
        await client.close()


async def run_web(settings: Settings, stop: asyncio.Event, temporal_ui: str = "") -> None:
    """Serve webhooks and pages until told to stop. Needs the database only, not Temporal."""
    async with open_database(settings) as database:
        rules = PolicyFile.read(settings.holdfast_policy).default
        web = WebSettings(
            StripeEndpoint(settings.webhook_secrets, settings.livemode),
            settings.link_secret.get_secret_value(),
            temporal_ui,
            settings.temporal_namespace,
            events=EventsEndpoint(settings.senders_secrets, heard_kinds(), rules.usage),
            segment=SegmentEndpoint(settings.segment_secret.get_secret_value(), rules.usage),
            sendgrid=SendGridEndpoint(settings.sendgrid_keys),
            api_tokens=settings.tokens,
            staff_password=settings.holdfast_staff_password.get_secret_value(),
            playbooks=tuple(name_of(each) for each in PLAYBOOKS),
            books=rules.books,
            segments=rules.segments,
            public_url=settings.public_url,
            limits=settings.rate_limits,
            catalogue=catalogue_for_the_web,
            samples=samples_for_the_web(rules),
        )
        app = create_app(database, web)

        async def numbers() -> bytes:
            return await web.metrics.text(database)

        async with metrics_served(settings, numbers):
            await serve(
                app,
                settings.holdfast_host,
                settings.holdfast_port,
                stop,
                "web.ready",
                settings.holdfast_trusted_proxies,
            )


async def run_codec(settings: Settings, stop: asyncio.Event) -> None:
    """Decrypt payloads for the Temporal Web UI until told to stop. Needs the database and the keys, not Temporal."""
    async with open_database(settings) as database:
        app = create_codec_app(database, EncryptingCodec(settings.payload_keys), codec_access(settings))
        await serve(app, settings.holdfast_codec_host, settings.holdfast_codec_port, stop, "codec.ready")
