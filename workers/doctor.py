"""`holdfast doctor`: everything that can be wrong with an installation, in sentences, each with what to do."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError
from temporalio.client import Client

from models.policy import PolicyFile
from workers.connect import connect
from workers.console import AsJson, run
from workers.databases import open_database
from workers.doctor_here import (
    every_letter_can_be_written,
    nothing_is_dead_or_parked,
    nothing_is_stuck_or_in_doubt,
    settings_are_right,
    the_database_is_at_the_newest_migration,
    the_events_are_of_the_keys_mode,
    the_plans_are_locked,
    the_relay_keeps_up,
    there_is_room_on_the_disk,
)
from workers.doctor_providers import (
    sendgrid_takes_the_key,
    stripe_knows_our_endpoint,
    stripe_takes_the_key,
    the_crm_has_what_is_written_to_it,
)
from workers.doctor_temporal import (
    a_worker_polls,
    cases_have_their_runs,
    schedules_are_there,
    search_attributes_are_there,
    temporal_answers_and_remembers,
)
from workers.findings import Check, Finding, Patient, Unasked
from workers.processes import outside_world
from workers.settings import Settings

CHECKS: Final[tuple[Check, ...]] = (
    settings_are_right,
    the_database_is_at_the_newest_migration,
    there_is_room_on_the_disk,
    the_plans_are_locked,
    every_letter_can_be_written,
    temporal_answers_and_remembers,
    search_attributes_are_there,
    a_worker_polls,
    schedules_are_there,
    the_relay_keeps_up,
    nothing_is_dead_or_parked,
    nothing_is_stuck_or_in_doubt,
    cases_have_their_runs,
    stripe_takes_the_key,
    the_events_are_of_the_keys_mode,
    stripe_knows_our_endpoint,
    sendgrid_takes_the_key,
    the_crm_has_what_is_written_to_it,
)
MARKS: Final = {"well": "[green]✓[/]", "wrong": "[red]✗[/]", "unknown": "[yellow]?[/]"}
PATIENCE_S: Final = 30
"""One check may take so long; then what it would have said is unknown."""


async def examine(patient: Patient) -> AsyncIterator[Finding]:
    """Every check in turn; one that cannot be made is a finding of its own and keeps no other from being made."""
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            async with asyncio.timeout(PATIENCE_S):
                findings = [finding async for finding in check(patient)]
        except Unasked as error:
            findings = [Finding(name, "unknown", f"cannot tell whether {name}: {error}", "mend that first")]
        except SQLAlchemyError as error:
            what = f"cannot tell whether {name}: the database does not do as asked ({type(error).__name__})"
            findings = [Finding(name, "unknown", what, "check DATABASE_URL; `holdfast migrate` makes the tables")]
        except Exception as error:  # noqa: BLE001 - whatever a provider's client raises; the others are still looked at
            what = f"cannot tell whether {name}: {type(error).__name__}"
            findings = [Finding(name, "unknown", what, "see whether it can be reached from here, and try again")]
        for finding in findings:
            yield finding


def exit_code(findings: list[Finding]) -> int:
    """0 well, 1 something is wrong, 2 cannot tell."""
    states = {finding.state for finding in findings}
    return 1 if "wrong" in states else 2 if "unknown" in states else 0


async def _client(settings: Settings) -> Client | None:
    try:
        return await asyncio.wait_for(connect(settings), 5)
    except (TimeoutError, RuntimeError):
        return None


def doctor(as_json: AsJson = False) -> None:
    """Say what is wrong with this installation, each with what to do. Changes nothing.

    Looks at the settings, the database and its migration, the inbox and the ledger, Temporal with its namespace, search
    attributes, workers, runs and schedules, Stripe's key, mode, clock and webhook endpoint, SendGrid's key, the disk
    and the plan lock.

    Exit code 0 if all is well, 1 if something is wrong, 2 if nothing is known to be wrong but something cannot be told.
    """
    settings = Settings()
    console = Console(soft_wrap=True, highlight=False)

    async def work() -> int:
        policy = PolicyFile.read(settings.holdfast_policy)
        client = await _client(settings)
        async with open_database(settings) as database, outside_world(settings, database) as world:
            patient = Patient(settings, policy, database, world, client)
            findings = []
            async for finding in examine(patient):
                findings.append(finding)
                if not as_json:
                    do = f"\n  [dim]→[/] {finding.do}" if finding.do else ""
                    console.print(f"{MARKS[finding.state]} {finding.what}.{do}")
        code = exit_code(findings)
        if as_json:
            console.print_json(json.dumps({"exit_code": code, "findings": [each.__dict__ for each in findings]}))
        return code

    run(work())
