"""Behind `holdfast preview`, `playbooks`, `plans`, `versions`, `replay`: for those who write and deploy playbooks.

A preview of a sample account needs neither the database nor the web, so these are imported where they are used.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader
from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.worker import Replayer

from models.picture import Person
from workers import plans
from workers.catalogue import as_json, as_markdown, catalogue
from workers.plans import variants
from workers.preview import About, Line, Preview
from workers.timeline import svg
from workflows import PLAYBOOKS
from workflows.playbook import Playbook
from workflows.steps import name_of

if TYPE_CHECKING:
    from models.database import Database
    from models.policy import Policy
    from models.tables import CaseRow
    from web.catalogue import Made
    from web.templates_page import Sample

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "playbooks.md"
PICTURES: Final = ROOT / "docs" / "pictures" / "playbooks"
LISTED: Final = "WorkflowType IN ({}) AND ExecutionStatus = 'Running'"


class NoSuchPlaybook(LookupError):
    """There is no playbook of this name; the message names those there are."""


def playbook_named(name: str) -> type[Playbook]:
    """A playbook by its name.

    Raises:
        NoSuchPlaybook: there is none.
    """
    by_name = {name_of(each): each for each in PLAYBOOKS}
    if name not in by_name:
        raise NoSuchPlaybook(f"there is no playbook {name!r}; these are: {', '.join(by_name)}")
    return by_name[name]


async def about_account(database: Database, account_id: str) -> About:
    """An account as it stands in the database, read only.

    Raises:
        LookupError: it is not there.
    """
    from sqlmodel import select

    from models.customers import Contact
    from models.tables import Account

    async with database.reading() as session:
        account = await session.get(Account, account_id)
        if account is None:
            raise LookupError(f"there is no account {account_id!r}; leave --account out for a sample one")
        contacts = (await session.exec(select(Contact).where(Contact.account_id == account_id))).all()
    main = next((each for each in contacts if each.role == "champion"), None)
    person = Person(name=account.name, email=account.email, locale=account.locale, timezone=account.timezone)
    if main:
        person = replace(person, name=main.name, email=main.email, timezone=main.timezone or account.timezone)
    return About(
        account=account.id,
        person=person,
        segment=account.segment,
        owner=account.owner,
        mrr=account.mrr,
        company=account.company,
        readings={"health": account.health if account.health is not None else -1},
    )


@dataclass(frozen=True)
class _Step:
    title: str
    at: Any
    day: float
    lines: tuple[Line, ...]


def as_page(preview: Preview) -> str:
    """The preview as one HTML page, with the mails as they will look."""
    steps = []
    for _, group in groupby(preview.lines, key=lambda line: (line.step, line.at)):
        lines = tuple(group)
        steps.append(_Step(lines[0].title, lines[0].at, lines[0].day, lines))
    folder = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=folder, autoescape=True).get_template("preview.html")
    return template.render(preview=preview, steps=steps)


def _catalogue_files() -> dict[Path, str]:
    entries = catalogue()
    return {PAGE: as_markdown(entries), **{PICTURES / f"{entry.name}.svg": svg(entry) for entry in entries}}


def write_catalogue() -> list[Path]:
    """Write docs/playbooks.md and the pictures anew; what there was of playbooks that are gone is removed."""
    wanted = _catalogue_files()
    PICTURES.mkdir(parents=True, exist_ok=True)
    for path in PICTURES.glob("*.svg"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return sorted(wanted)


def out_of_date() -> list[Path]:
    """Files of the catalogue that are not what the code says, and pictures of playbooks that are gone."""
    wanted = _catalogue_files()
    changed = {path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text}
    return sorted(changed | set(PICTURES.glob("*.svg")) - set(wanted))


def catalogue_for_the_web() -> Made:
    """What /playbooks shows."""
    from web.catalogue import Made

    entries = catalogue()
    return Made(as_json(entries), {entry.name: svg(entry) for entry in entries})


def samples_for_the_web(policy: Policy) -> Callable[[], Sequence[Sample]]:
    """What /templates shows, written with this policy's words when somebody first looks."""

    def make() -> Sequence[Sample]:
        from workers.letter_samples import samples

        return samples(policy)

    return make


@dataclass
class Version:
    """Open runs of one playbook that follow one plan.

    `state`: `current` if a run that began today would follow it; `older` if the plan lock keeps it; `other` if it is
    neither, as under a policy of one's own: `holdfast replay` says whether such runs replay.
    """

    playbook: str
    plan: str
    runs: int
    oldest: str
    state: str


async def versions(database: Database) -> list[Version]:
    """How many open runs are on which plan."""
    from sqlmodel import col, select

    from models.tables import CaseRow

    async with database.reading() as session:
        rows = (await session.exec(select(CaseRow).where(col(CaseRow.ended).is_(False)))).all()
    now = defaultdict(set, await asyncio.to_thread(lambda: {name_of(each): current_plans(each) for each in PLAYBOOKS}))
    then = defaultdict(set, {name: {shape.plan for shape in shapes} for name, shapes in plans.read().items()})
    groups: dict[tuple[str, str], list[CaseRow]] = defaultdict(list)
    for row in rows:
        groups[row.playbook, row.plan].append(row)
    return [
        Version(
            playbook=playbook,
            plan=plan or "not begun",
            runs=len(group),
            oldest=min(row.opened_at for row in group).date().isoformat(),
            state="current" if plan in now[playbook] else "older" if plan in then[playbook] else "other",
        )
        for (playbook, plan), group in sorted(groups.items())
    ]


def current_plans(playbook: type[Playbook]) -> set[str]:
    """The fingerprints of the plans that runs of today follow under the default policy."""
    return {shape.plan for shape in variants(playbook).values()}


@dataclass
class Replayed:
    """What came of replaying open runs: how many, and those that fail, each with the SDK's reason."""

    runs: int = 0
    failures: dict[str, str] = field(default_factory=dict)


async def replay(client: Client, playbooks: Sequence[type[Playbook]] = PLAYBOOKS) -> AsyncIterator[Replayed]:
    """Replay every open run of a namespace against the code of today, and say how far it is after each."""
    names = ", ".join(f"'{name_of(each)}'" for each in playbooks)

    async def histories() -> AsyncIterator[WorkflowHistory]:
        async for run in client.list_workflows(LISTED.format(names)):
            yield await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()

    done = Replayed()
    async for run_id, failure in replayed(histories(), playbooks, client.data_converter):
        done.runs += 1
        if failure:
            done.failures[run_id] = failure
        yield done


async def replayed(
    histories: Iterable[WorkflowHistory] | AsyncIterator[WorkflowHistory],
    playbooks: Sequence[type[Playbook]],
    converter: DataConverter = pydantic_data_converter,
) -> AsyncIterator[tuple[str, str]]:
    """Replay histories as a worker of ours would: the workflow id of each, and why it does not replay, or nothing."""
    from workers.connect import sandbox

    async def one_by_one() -> AsyncIterator[WorkflowHistory]:
        if isinstance(histories, AsyncIterator):
            async for each in histories:
                yield each
        else:
            for each in histories:
                yield each

    replayer = Replayer(workflows=list(playbooks), workflow_runner=sandbox(), data_converter=converter)
    async with replayer.workflow_replay_iterator(one_by_one()) as results:
        async for result in results:
            failure = result.replay_failure
            yield result.history.workflow_id, str(failure) if failure else ""
