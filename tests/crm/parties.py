"""The built-in tables, Attio and HubSpot, behind one way to act and one way to see what they hold."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlmodel import SQLModel, select

from activities.attio import MARK, Attio
from activities.crm import Crm
from activities.hubspot import HubSpot
from activities.merge_fields import Fields
from models.cases import Batch, Deal, Effect, Risk, Task
from models.crm import CrmSettings, OutsideCrm
from models.crm_rows import CrmRecord
from models.customers import Contract, DealRow, Owner
from models.database import Database
from models.ledger import finish_task
from models.picture import Picture
from models.policy import PolicyFile
from models.tables import Account, CaseRow, RiskSignal, TaskRow
from simulator.attio_api import AttioApi
from simulator.hubspot_api import HubSpotApi
from simulator.running import SimulatorControl
from workers.crm_mirror import Mirror

CASE: Final = "renewal/con_1"
AT: Final = datetime(2026, 11, 25, 9, tzinfo=UTC)
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "attio": {"provider": "attio", "at_risk_list": "at_risk_customers"},
    "hubspot": {"provider": "hubspot", "at_risk_list": "7"},
}
OUTSIDE: Final = sorted(SETTINGS)
WRITES: Final = {
    "attio": {
        "company": ("PUT", "/v2/objects/companies/records"),
        "at_risk": ("PUT", "/v2/lists/at_risk_customers/entries"),
        "deal": ("PUT", "/v2/objects/deals/records"),
        "task": ("POST", "/v2/tasks"),
        "note": ("POST", "/v2/notes"),
    },
    "hubspot": {
        "company": ("POST", "/crm/v3/objects/companies/batch/upsert"),
        "at_risk": ("PUT", "/crm/v3/lists/7/memberships/add"),
        "deal": ("POST", "/crm/v3/objects/deals/batch/upsert"),
        "task": ("POST", "/crm/v3/objects/tasks/batch/upsert"),
        "note": ("POST", "/crm/v3/objects/notes/batch/upsert"),
    },
}
"""The call that makes each kind of record."""


@dataclass
class Contents:
    """What a CRM holds, by our own keys, each list in order; a record that is there twice is there twice."""

    at_risk: list[str] = field(default_factory=list)
    deals: list[tuple[str, str]] = field(default_factory=list)
    tasks: list[tuple[str, str, bool]] = field(default_factory=list)
    risk_notes: list[str] = field(default_factory=list)


class Clock:
    """The machine's clock as the mirror sees it; moves when told to."""

    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now


class Party:
    """One CRM with a database of its own. Effects are written as `carry_out` writes them."""

    def __init__(self, name: str, database: Database, simulator: SimulatorControl, **settings: Any) -> None:
        self.name = name
        self.database = database
        self.simulator = simulator
        self.clock = Clock()
        self.settings = CrmSettings.validated({**SETTINGS.get(name, {}), **settings})
        self.client = _client(name, simulator, self.settings)
        self.mirror = self.another_mirror()
        self._crm = Crm(PolicyFile(), Fields("https://pay.example.com", "a-secret-for-links"))

    def another_mirror(self) -> Mirror | None:
        """The mirror of one more relay process."""
        if self.client is None:
            return None
        return Mirror(self.database, self.client, self.settings, "lead", self.clock)

    @property
    def attio(self) -> AttioApi:
        """The pretend Attio."""
        return self.simulator.attio

    @property
    def hubspot(self) -> HubSpotApi:
        """The pretend HubSpot."""
        return self.simulator.hubspot

    @property
    def there(self) -> Any:
        """The pretend CRM, whichever it is: what both can do."""
        return self.attio if self.name == "attio" else self.hubspot

    def tasks_there(self) -> Any:
        """The tasks over there, by their ids."""
        return self.attio.tasks if self.name == "attio" else self.hubspot.records["tasks"]

    # What happens.

    async def open(self) -> None:
        """One account in trouble, with its contract and its case."""
        await self.add(
            Owner(handle="ana", name="Ana", email="ana@example.com"),
            Account(id="cus_1", company="Acme", owner="ana", segment="growth", health=35),
            Contract(id="con_1", account_id="cus_1", renews_on=date(2027, 3, 1), value=4_800_000),
            CaseRow(id=CASE, playbook="renewal", account_id="cus_1", subject="con_1", opened_at=AT),
        )

    async def add(self, *rows: SQLModel) -> None:
        """Put rows into the database."""
        async with self.database.writing() as session:
            for row in rows:
                await session.merge(row)

    async def do(self, *effects: Effect) -> None:
        """Carry out effects of the case."""
        batch = Batch(
            case=CASE,
            account="cus_1",
            subject="con_1",
            playbook="renewal",
            step="step",
            title="Step",
            since=AT,
            now=AT,
        )
        async with self.database.writing() as session:
            for effect in effects:
                await self._crm.write(session, effect, batch, Picture(readings={"owner": "ana"}))

    async def everything(self) -> None:
        """A deal, a task and a risk signal beside the account's health."""
        await self.do(deal("Renewal Due"), task("call"), risk(raised=True))

    async def finish(self, key: str, outcome: str = "done") -> None:
        """A person finishes a task."""
        async with self.database.writing() as session:
            await finish_task(session, key, outcome, self.clock.now)

    async def change(self, table: type[SQLModel], key: str, **columns: Any) -> None:
        """Change a row."""
        async with self.database.writing() as session:
            row = await session.get(table, key)
            assert row
            row.sqlmodel_update(columns)
            session.add(row)

    async def carried(self) -> Counter[str]:
        """One pass of the mirror; where there is none, there is nothing to carry."""
        return await self.mirror.once() if self.mirror else Counter()

    async def in_time(self) -> None:
        """Passes an hour apart, until everything that can be written by itself is."""
        for _ in range(8):
            said = await self.carried()
            self.clock.now += timedelta(hours=1)
            if not said and all(each.state in ("done", "refused") for each in await self.rows(CrmRecord, "key")):
                return

    # What one can see.

    async def rows(self, table: type[SQLModel], *order: str) -> list[Any]:
        """Rows of a table in this order."""
        async with self.database.reading() as session:
            return list((await session.exec(select(table).order_by(*(getattr(table, each) for each in order)))).all())

    async def record(self, key: str) -> CrmRecord:
        """The mirror's row of a record."""
        (row,) = [each for each in await self.rows(CrmRecord, "key") if each.key == key]
        found: CrmRecord = row
        return found

    async def asked(self) -> list[TaskRow]:
        """The tasks in which a person is asked about the CRM."""
        return [each for each in await self.rows(TaskRow, "key") if each.key.startswith("crm/")]

    async def contents(self) -> Contents:
        """What the CRM holds."""
        if self.name == "attio":
            return _in_attio(self.attio)
        return _in_hubspot(self.hubspot) if self.name == "hubspot" else await self._in_our_tables()

    async def _in_our_tables(self) -> Contents:
        signals = await self.rows(RiskSignal, "key")
        accounts = await self.rows(Account, "id")
        low = {each.id for each in accounts if each.health is not None and each.health < 40}
        return Contents(
            at_risk=sorted(low | {each.account_id for each in signals if each.cleared_at is None}),
            deals=[(each.case_id, each.stage) for each in await self.rows(DealRow, "case_id")],
            tasks=[(each.key, each.title, each.outcome != "") for each in await self.rows(TaskRow, "key")],
            risk_notes=[each.key for each in signals],
        )


def _client(name: str, simulator: SimulatorControl, settings: CrmSettings) -> OutsideCrm | None:
    if name == "attio":
        return Attio(AttioApi.token, settings, simulator.url)
    return HubSpot(HubSpotApi.token, settings, simulator.url) if name == "hubspot" else None


def _in_attio(attio: AttioApi) -> Contents:
    accounts = {key: each.get("holdfast_account", "") for key, each in attio.records["companies"].items()}
    tasks = [(*_parts(each["content"]), each["is_completed"]) for each in attio.tasks.values()]
    return Contents(
        at_risk=sorted(
            accounts[each["record"]] for each in attio.entries.values() if each["list"] == "at_risk_customers"
        ),
        deals=sorted((each["holdfast_key"], each["stage"]) for each in attio.records["deals"].values()),
        tasks=sorted((key, title, done) for title, key, done in tasks),
        risk_notes=sorted(_parts(each["content"])[1] for each in attio.notes.values() if "Risk" in each["content"]),
    )


def _parts(content: str) -> tuple[str, str]:
    """The first line, and our key in the last."""
    lines = content.splitlines()
    return lines[0], lines[-1].removeprefix(MARK)


def _in_hubspot(hubspot: HubSpotApi) -> Contents:
    records = hubspot.records
    tasks = [
        (each["holdfast_key"], each["hs_task_subject"], each["hs_task_status"] == "COMPLETED")
        for each in records["tasks"].values()
    ]
    return Contents(
        at_risk=sorted(records["companies"][each]["holdfast_account"] for each in hubspot.lists["7"]),
        deals=sorted((each["holdfast_key"], each["dealstage"]) for each in records["deals"].values()),
        tasks=sorted(tasks),
        risk_notes=sorted(each["holdfast_key"] for each in records["notes"].values() if "Risk" in each["hs_note_body"]),
    )


def deal(stage: str, key: str = f"{CASE}/step/1", potential: str = "") -> Deal:
    """The case's deal at a stage."""
    return Deal(key=key, title=f"Deal: {stage}", stage=stage, expansion_potential=potential)


def task(name: str) -> Task:
    """A task for the CSM."""
    return Task(key=f"{CASE}/step/{name}", title=f"Do: {name}", due=AT + timedelta(days=1))


def risk(*, raised: bool, name: str = "risk") -> Risk:
    """A risk signal goes up or down."""
    return Risk(
        key=f"{CASE}/step/{name}{'' if raised else '_cleared'}", title="Risk", signal="usage_decline", raised=raised
    )
