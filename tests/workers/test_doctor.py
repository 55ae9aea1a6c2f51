"""Each thing that can be wrong is planted, and the doctor says it in a sentence with what to do."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from activities.assembly import Assembled
from models.database import Database
from models.scans import SCANS
from models.stripe_events import READERS
from models.tables import TaskRow, wall
from tests.town import WEBHOOK_SECRET, Town
from tests.workers.test_audit import case, effect, event
from tests.workers.test_cli import holdfast
from workers import plans, schedules
from workers.doctor import CHECKS, examine, exit_code
from workers.findings import Finding, Patient
from workers.settings import Settings

MINUTES_AGO = timedelta(minutes=11)


@asynccontextmanager
async def patient(place: Town, **changed: Any) -> AsyncIterator[Patient]:
    """An installation in good health, but for what is changed in its settings."""
    given: dict[str, Any] = {
        "database_url": place.database.engine.url.render_as_string(hide_password=False),
        "stripe_api_key": "sk_test_town",
        "stripe_webhook_secrets": WEBHOOK_SECRET,
        "sendgrid_api_key": "SG.town",
        "sendgrid_api_base": place.simulator.url,
        "link_secret": "0123456789abcdef",
        "public_url": place.url,
        **changed,
    }
    world = Assembled(place.effects, place.scans, place.billing, place.look_ups, place.stripe)
    await schedules.ensure(place.client, place.policy.default, place.task_queue)
    try:
        settings = Settings(**given, _env_file=None)
        yield Patient(settings, place.policy, place.database, world, place.client, place.task_queue, least_free=1)
    finally:
        for which in SCANS:
            await schedules.remove(place.client, which)


async def examined(someone: Patient) -> list[Finding]:
    """What is not well."""
    return [finding async for finding in examine(someone) if finding.state != "well"]


async def plant(place: Town, *rows: Any) -> None:
    """Put rows into the database."""
    async with place.database.writing() as session:
        for row in rows:
            session.add(type(row)(**row.model_dump()))


def only(findings: list[Finding]) -> tuple[str, str, str]:
    """The one finding, which says what to do."""
    (found,) = findings
    assert found.do
    return found.check, found.state, found.what


async def test_an_installation_in_good_health_is_well(place: Town) -> None:
    await place.payment_fails("insufficient_funds")
    async with patient(place) as someone:
        findings = [finding async for finding in examine(someone)]
    assert [finding.what for finding in findings if finding.state != "well"] == []
    assert len(findings) >= len(CHECKS)
    assert exit_code(findings) == 0


async def test_a_setting_that_is_missing(place: Town) -> None:
    async with patient(place, link_secret="short") as someone:
        assert only(await examined(someone)) == ("settings", "wrong", "LINK_SECRET must be 16 characters or more")


@pytest.mark.parametrize(
    ("revision", "what"),
    [
        ("0002", "the database is at migration 0002, the newest is 0007"),
        ("9999", "the database is at migration 9999, newer than this version knows (0007)"),
    ],
)
async def test_a_database_at_another_migration(place: Town, revision: str, what: str) -> None:
    async with place.database.engine.begin() as connection:
        await connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    async with patient(place) as someone:
        assert only(await examined(someone)) == ("database", "wrong", what)


async def test_a_database_that_does_not_answer_cannot_be_told(place: Town, tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
    broken = Database(f"sqlite:///{tmp_path}/broken.db")
    async with patient(place) as someone:
        found = await examined(replace(someone, database=broken))
    await broken.close()
    assert {finding.state for finding in found} == {"unknown"}
    assert exit_code(found) == 2
    assert found[0].what.startswith("cannot tell whether the database is at the newest migration: the database does")


async def test_a_disk_that_is_full(place: Town) -> None:
    async with patient(place) as someone:
        check, state, what = only(await examined(replace(someone, least_free=shutil.disk_usage("/").total * 2)))
    assert (check, state) == ("disk", "wrong")
    assert "GiB are free where" in what


async def test_a_plan_that_does_not_replay(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    (name, shapes), *_ = plans.read().items()
    there = {name: [replace(shapes[0], commands=("do nothing",))]}
    monkeypatch.setattr(plans, "read", lambda: there)
    async with patient(place) as someone:
        check, state, what = only(await examined(someone))
    assert (check, state) == ("plans", "wrong")
    assert "would not replay" in what


async def test_temporal_that_does_not_answer(place: Town) -> None:
    async with patient(place) as someone:
        found = await examined(replace(someone, client=None))
    assert [(finding.check, finding.state) for finding in found[:1]] == [("Temporal", "wrong")]
    assert found[0].what == "no Temporal server answers at 127.0.0.1:7233"
    assert {finding.state for finding in found[1:]} == {"unknown"}
    assert exit_code(found) == 1


async def test_a_namespace_that_forgets_too_soon_or_is_not_there(place: Town) -> None:
    async with patient(place) as someone:
        _, _, what = only(await examined(replace(someone, least_retention=timedelta(days=9999))))
        assert what.startswith("ended runs are forgotten after ")
        config = place.client.config()
        config["namespace"] = "elsewhere"
        found = await examined(replace(someone, client=Client(**config)))
    assert found[0].what == "there is no namespace 'elsewhere'"


async def test_search_attributes_that_are_not_there(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    from temporalio.common import SearchAttributeKey

    from workers import doctor_temporal

    monkeypatch.setattr(doctor_temporal, "SEARCH_ATTRIBUTES", (SearchAttributeKey.for_keyword("Missing"),))
    async with patient(place) as someone:
        check, _, what = only(await examined(someone))
    assert (check, what) == (
        "search attributes",
        "the namespace lacks the search attributes Missing: no run can be started",
    )


async def test_no_worker(place: Town) -> None:
    async with patient(place) as someone:
        check, _, what = only(await examined(replace(someone, task_queue="nobody")))
    assert (check, what) == ("worker", "no worker takes work from the task queue 'nobody': no step is taken")


async def test_schedules_that_are_missing_or_paused(place: Town) -> None:
    async with patient(place) as someone:
        await schedules.remove(place.client, "usage")
        await schedules.pause(place.client, "cards", "ana")
        found = await examined(someone)
    assert [finding.what for finding in found] == [
        "the scan usage has no schedule",
        "the schedule of the scan cards is paused (Paused by ana)",
    ]


PLANTED: list[tuple[str, list[Any], list[str]]] = [
    (
        "overdue",
        [event(wall_next_try_at=wall() - MINUTES_AGO, kind="invoice.paid", reason="Temporal: UNAVAILABLE")],
        ["1 events are due and not carried, the oldest since "],
    ),
    ("dead", [event(state="dead", reason="no")], ["1 events are dead: nobody could carry them"]),
    ("parked", [event(state="parked", source="events")], ["1 events are parked: nobody knows their account"]),
    (
        "claimed",
        [effect(state="claimed", wall_claimed_at=wall() - MINUTES_AGO)],
        ["1 effects were begun more than ten minutes ago and have no end, such as payment-failure/in_1/step/1"],
    ),
    (
        "in doubt",
        [
            effect(state="in_doubt", wall_claimed_at=wall() - MINUTES_AGO),
            TaskRow(
                key="payment-failure/in_1/step/1/in_doubt",
                account_id="cus_1",
                case_id="payment-failure/in_1",
                owner="ana",
                title="A mail may not have arrived",
                opened_at=wall(),
                due_at=wall(),
            ),
        ],
        ["1 effects are in doubt, such as payment-failure/in_1/step/1; 1 wait for a person"],
    ),
    (
        "run gone",
        [case(ended=False, state="open", outcome="", started=True)],
        ["payment-failure/in_1 (cus_1) is open in the database, but Temporal knows no run of it"],
    ),
    (
        "other mode",
        [event(state="applied", body=b'{"livemode": true}')],
        ["STRIPE_API_KEY is of test mode, but the newest event in the inbox is of live mode"],
    ),
]


@pytest.mark.parametrize(("rows", "said"), [each[1:] for each in PLANTED], ids=[each[0] for each in PLANTED])
async def test_rows_that_are_not_well(place: Town, rows: list[Any], said: list[str]) -> None:
    await plant(place, *rows)
    async with patient(place) as someone:
        found = await examined(someone)
    assert len(found) == len(said)
    for finding, sentence in zip(found, said, strict=True):
        assert finding.what.startswith(sentence)
        assert (finding.state, bool(finding.do)) == ("wrong", True)


@pytest.mark.parametrize(
    ("kind", "path", "said", "state"),
    [
        ("401", "/v1/events", "Stripe does not take STRIPE_API_KEY", "wrong"),
        ("503", "/v1/events", "cannot tell whether stripe takes the key: APIError", "unknown"),
        ("401", "/v3/scopes", "SendGrid does not take SENDGRID_API_KEY", "wrong"),
        ("503", "/v3/scopes", "cannot tell whether sendgrid takes the key: ServiceUnavailableError", "unknown"),
        ("503", "/v1/webhook_endpoints", "cannot tell whether stripe knows our endpoint: APIError", "unknown"),
    ],
)
async def test_providers_that_refuse_or_do_not_answer(place: Town, kind: str, path: str, said: str, state: str) -> None:
    await place.simulator.add_fault(kind, path)
    async with patient(place) as someone:
        found = await examined(someone)
    assert [(finding.what, finding.state) for finding in found] == [(said, state)]
    assert exit_code(found) == (1 if state == "wrong" else 2)


async def test_a_sendgrid_key_that_may_not_send(place: Town) -> None:
    await place.simulator.sendgrid(scopes=["stats.read"])
    async with patient(place) as someone:
        assert only(await examined(someone))[2] == "SENDGRID_API_KEY may not send mail"


async def test_a_clock_that_is_wrong(place: Town) -> None:
    async with patient(place) as someone:
        began = wall()
        found = await examined(replace(someone, now=lambda: wall() + timedelta(seconds=90)))
    (clock,) = [finding for finding in found if finding.check == "clock"]
    # A Date header leaves out the fraction of its second; and the answer takes time.
    possible = range(90, round(91 + (wall() - began).total_seconds()) + 1)
    assert clock.what in [f"this machine's clock and Stripe's are {apart} seconds apart" for apart in possible]


async def test_a_webhook_endpoint_that_is_missing_disabled_or_lacks_events(place: Town) -> None:
    url = "https://pay.example.com"
    async with patient(place, public_url=url) as someone:
        assert only(await examined(someone))[2] == f"Stripe has no webhook endpoint {url}/webhooks/stripe"
        sent = sorted(READERS.keys() - {"invoice.paid"})
        made = await place.simulator.webhook_endpoint(f"{url}/webhooks/stripe", enabled_events=sent)
        assert only(await examined(someone))[2] == "the webhook endpoint does not send invoice.paid"
        place.simulator.world.get("webhook_endpoint", made["id"])["status"] = "disabled"
        assert only(await examined(someone))[2] == f"the webhook endpoint {url}/webhooks/stripe is disabled at Stripe"


async def test_the_command_says_it_in_sentences_and_in_json(place: Town, database_url: str, tmp_path: Path) -> None:
    settings = {
        "DATABASE_URL": database_url,
        "STRIPE_API_KEY": "sk_test_town",
        "STRIPE_API_BASE": place.simulator.url,
        "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "LINK_SECRET": "0123456789abcdef",
        "PUBLIC_URL": place.url,
        "TEMPORAL_ADDRESS": place.client.service_client.config.target_host,
    }
    code, out, err = await holdfast(tmp_path, "doctor", **settings)
    assert (code, err) == (1, "")  # no worker polls the task queue of the command line
    lines = out.splitlines()
    at = lines.index("✗ no worker takes work from the task queue 'playbooks': no step is taken.")
    assert lines[at + 1] == "  → start `holdfast worker`; runs go on where they are"
    assert "✓ Stripe takes the key." in lines
    code, out, _ = await holdfast(tmp_path, "doctor", "--json", **settings)
    said = json.loads(out)
    assert (code, said["exit_code"]) == (1, 1)
    assert {"check", "state", "what", "do"} == said["findings"][0].keys()
