"""What the renewal tests share: a contract some days before its date, and the calendar counted back from it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from models.customers import Contact, Contract, DealRow, Owner
from tests.playbook_kit import Kit, Run
from tests.town import DAY


@dataclass
class Renewal:
    """A run about one contract."""

    run: Run
    contract: str
    renews_on: date

    @property
    def kit(self) -> Kit:
        """The kit that the run is from."""
        return self.run.kit

    async def to(self, days_before: float) -> None:
        """Let the clock go on to an hour past the beginning of so many days before the renewal date (UTC)."""
        left = datetime.combine(self.renews_on, time(), UTC) - await self.kit.place.started_at(self.run.case)
        await self.run.to_day(left / DAY - days_before)

    async def calendar(self) -> dict[str, list[str]]:
        """What was done, by the day before the renewal (`R-90`); on the first day by days after the start (`D+0.8`)."""
        left = datetime.combine(self.renews_on, time(), UTC) - await self.kit.place.started_at(self.run.case)
        found: dict[str, list[str]] = {}
        for day, lines in (await self.run.calendar()).items():
            before = round(left / DAY - day)
            name = f"D+{day:g}" if day < 1 else f"R{-before}" if before > 0 else f"R+{-before}"
            found.setdefault(name, []).extend(lines)
        return found

    async def deal(self) -> DealRow:
        """The run's deal."""
        (row,) = await self.kit.place.rows(DealRow, case_id=self.run.case)
        deal: DealRow = row
        return deal

    async def notes(self) -> list[str]:
        """The case's history in words."""
        return [note.text for note in await self.kit.notes(self.run.case)]


async def renewal(kit: Kit, days: int = 122, *, account: str = "", name: str = "", **columns: Any) -> Renewal:
    """A run that begins so many days before the renewal date. `columns` are of the contract; `health` of the account.

    122 days, so that every milestone falls on its midnight, whenever the test is run.
    """
    health = columns.pop("health", 80)
    made = account or await kit.account(segment="mid", health=health)
    known: dict[str, Any] = {
        "renews_on": kit.today() + timedelta(days=days),
        "value": 1_200_000,
        "sign_url": "https://sign.example.com",
    }
    row = Contract(id=name or f"contract-of-{made}", account_id=made, **(known | columns))
    renews_on, contract, value = row.renews_on, row.id, row.value
    await kit.add(row)
    run = await kit.start("renewal.ahead", made, subject=f"{contract}/{renews_on}", object_id=contract, at_stake=value)
    return Renewal(run, contract, renews_on)


async def add_people(kit: Kit, account: str) -> None:
    """A champion and a sponsor at the customer, and a CSM with a name."""
    bob: dict[str, Any] = {"role": "champion", "name": "Bob Ross", "email": "bob@acme.example.com"}
    ann: dict[str, Any] = {"role": "sponsor", "name": "Ann Lee", "email": "ann@acme.example.com"}
    await kit.add(
        Contact(id=f"bob-{account}", account_id=account, **bob),
        Contact(id=f"ann-{account}", account_id=account, **ann),
        Owner(handle="ana", name="Ana Silva", email="ana@us.example.com", booking_url="https://book.example.com/ana"),
    )
