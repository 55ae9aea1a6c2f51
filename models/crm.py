"""What we need of a company's own CRM, whichever it is: one protocol, what may go wrong, and the field map (I1).

Our tables are the source of truth and the default. Where `[crm]` in the policy file names a provider,
workers/crm_mirror.py writes what they say into it, through an adapter of activities/.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Kind = Literal["company", "at_risk", "deal", "task", "note"]
Value = str | int | bool | Decimal | date | datetime | None
Provider = Literal["", "attio", "hubspot"]

FIELDS: Final[dict[Kind, tuple[str, ...]]] = {
    "company": (
        "key",
        "name",
        "health_score",
        "health_status",
        "health_text",
        "health_updated",
        "segment",
        "owner",
        "plan",
        "mrr",
    ),
    "deal": ("key", "name", "stage", "value", "renewal_date", "contract_term", "expansion_potential", "owner"),
    "task": ("key",),
    "note": ("key",),
}
"""Our names of what may be mapped. `key` is what we find a record again by: its attribute has to be unique."""
_OURS: Final = {
    "health_score": "health_score",
    "health_status": "health_status",
    "health_updated": "last_health_update",
}
_DEALS: Final = {name: name for name in ("renewal_date", "contract_term", "expansion_potential")}
DEFAULTS: Final[dict[str, dict[Kind, dict[str, str]]]] = {
    "attio": {
        "company": {"key": "holdfast_account", "name": "name", **_OURS},
        "deal": {"key": "holdfast_key", "name": "name", "stage": "stage", "value": "value", "owner": "owner", **_DEALS},
    },
    "hubspot": {
        "company": {"key": "holdfast_account", "name": "name", "owner": "hubspot_owner_id", **_OURS},
        "deal": {
            "key": "holdfast_key",
            "name": "dealname",
            "stage": "dealstage",
            "value": "amount",
            "owner": "hubspot_owner_id",
            **_DEALS,
        },
        "task": {"key": "holdfast_key"},
        "note": {"key": "holdfast_key"},
    },
}
"""Ours to theirs, where the policy file does not say otherwise. Attio's tasks and notes have no attributes to map."""
DEAL_STAGES: Final = (
    "Renewal Due",
    "Kickoff",
    "Terms",
    "Negotiation",
    "Final Terms",
    "Contract Sent",
    "Won",
    "Lost",
)
"""The stages that the renewal playbook moves a deal through (P6.14)."""
BY_TEXT: Final = "description"
"""Where a company's health is written in words when the attributes for it are not there (I1.6)."""


class BadCrmSettings(ValueError):
    """`[crm]` of the policy file cannot be used; the message says which key and why."""


class CrmSettings(BaseModel):
    """`[crm]` of the policy file. Not part of a run's policy: nothing that a playbook decides depends on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Provider = ""
    create_companies: bool = True
    """Whether an account that no company over there carries gets one; else a person is asked to link it."""
    segments: tuple[str, ...] = ()
    """Only accounts of these segments are written; empty: all."""
    at_risk_health: int = Field(40, ge=0, le=100)
    """Below this health, or with a risk signal up, a company is on the at-risk list (H3.4, T3.8)."""
    at_risk_list: str = ""
    """The list of companies, by its slug or id; empty: there is none (I1.3)."""
    renewal_list: str = ""
    """The list that renewal deals are put on, likewise."""
    pipeline: str = "default"
    """HubSpot's pipeline of renewal deals, by its id."""
    stages: dict[str, str] = {}
    """Our deal stages to theirs: Attio's titles, HubSpot's ids. A stage that is not named goes by its own name."""
    company: dict[str, str] = {}
    deal: dict[str, str] = {}
    task: dict[str, str] = {}
    note: dict[str, str] = {}

    def fields(self, kind: Kind) -> dict[str, str]:
        """Our field names to theirs, without those that the file leaves empty."""
        given: dict[str, str] = getattr(self, kind, {})
        both = {**DEFAULTS.get(self.provider, {}).get(kind, {}), **given}
        return {ours: theirs for ours, theirs in both.items() if theirs}

    def stage(self, ours: str) -> str:
        """What a deal's stage is called over there."""
        return self.stages.get(ours, ours)

    def problems(self) -> list[str]:
        """What does not hold together."""
        found = []
        for kind, names in FIELDS.items():
            given: dict[str, str] = getattr(self, kind, {})
            known = ", ".join(names)
            found += [
                f"{kind}.{name}: there is no such field; there are {known}" for name in given if name not in names
            ]
            mapped = {ours: theirs for ours, theirs in self.fields(kind).items() if ours in names}
            if self.provider and DEFAULTS[self.provider].get(kind) and "key" not in mapped:
                found.append(f"{kind}.key: must name the unique attribute that holds our key")
            twice = sorted({theirs for theirs in mapped.values() if list(mapped.values()).count(theirs) > 1})
            found += [f"{kind}: {theirs!r} is given to two of our fields" for theirs in twice]
        return found

    @classmethod
    def validated(cls, data: Any) -> "CrmSettings":
        """Read the table `[crm]`.

        Raises:
            BadCrmSettings: it does not hold together; the message names every key.
        """
        if not isinstance(data, dict):
            raise BadCrmSettings(f"crm: must be a table, not {data!r}")
        try:
            settings = cls.model_validate(data)
        except ValidationError as error:
            said = "; ".join(f"crm.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise BadCrmSettings(said) from None
        wrong = settings.problems()
        if wrong:
            raise BadCrmSettings("; ".join(f"crm.{each}" for each in wrong))
        return settings


LISTS: Final = {"at_risk_list": "companies", "renewal_list": "deals"}
"""The settings that name a list, and what it is a list of."""


@dataclass(frozen=True)
class Record:
    """What one record over there has to say.

    `key` is ours and unique among its kind: an account's id, a task's or a risk signal's effect key, a case's id.
    `fields` are by our names; money in the major unit. `company` and `deal` are ids over there of what it belongs to.
    """

    kind: Kind
    key: str
    fields: Mapping[str, Value]
    company: str = ""
    deal: str = ""


class CrmError(Exception):
    """Something a CRM said, or did not say."""


class Busy(CrmError):
    """Certainly nothing was done: too many requests, not reachable, busy with it. Free to repeat after `wait_s`.

    `only_this`: it concerns one record, and others may be written meanwhile.
    """

    def __init__(self, why: str, wait_s: float, *, only_this: bool = False) -> None:
        super().__init__(why)
        self.wait_s = wait_s
        self.only_this = only_this


class Closed(CrmError):
    """The key is not taken, or may not do this: nothing can be written until somebody mends that."""


class Unsure(CrmError):
    """The answer was lost: it may have been done. To be looked up before it is repeated."""


class Gone(CrmError):
    """The record was deleted over there, and none carries our key."""


class NoCompany(CrmError):
    """The company that a record belongs to is not where it was: deleted, or merged into another."""


class Refused(CrmError):
    """It will not be taken as it is, however often it is sent."""


@dataclass(frozen=True)
class Schema:
    """What there is over there: attributes by kind, each unique or not; deal stages; which of our lists there are not.

    `no_list` holds the settings' names: `at_risk_list`, `renewal_list`.
    """

    attributes: Mapping[Kind, Mapping[str, bool]]
    stages: tuple[str, ...] = ()
    no_list: tuple[str, ...] = ()


class OutsideCrm(Protocol):
    """A CRM that is not ours. Every call may raise `Busy` and `Closed`; `write` the other errors of this module too."""

    name: str

    async def look(self, record: Record) -> str:
        """The id over there of what carries `record.key` (on the list: of the entry); empty: there is none."""
        ...

    async def write(self, record: Record, remote_id: str) -> str:
        """Make the record, or bring the one with `remote_id` up to date; returns its id, another one after a merge."""
        ...

    async def schema(self) -> Schema:
        """What there is to write to."""
        ...

    def use(self, settings: CrmSettings) -> None:
        """Write by this map from now on."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


@dataclass
class Lacking:
    """What the map wants and the CRM does not have: `fatal` keeps us from writing at all, the rest is left out."""

    fatal: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def lacking(settings: CrmSettings, schema: Schema, stages: tuple[str, ...] = ()) -> tuple[CrmSettings, Lacking]:
    """The map as far as the CRM has its attributes, and in sentences what it has not (I1.6).

    Where an attribute for the health is missing, it is written in words into the description. `stages` are ours.
    """
    found = Lacking()
    usable: dict[str, dict[str, str]] = {}
    for kind, there in schema.attributes.items():
        mapped = settings.fields(kind)
        for ours, theirs in mapped.items():
            if theirs not in there:
                needed = ours == "key"
                what = "needed to find a record again" if needed else f"{ours} is left out"
                list_ = found.fatal if needed else found.left_out
                list_.append(
                    f"{kind}: there is no attribute {theirs!r}; {what}. Make it, or map crm.{kind}.{ours} anew"
                )
            elif ours == "key" and not there[theirs]:
                found.fatal.append(f"{kind}: the attribute {theirs!r} must hold unique values, for it holds our key")
        usable[kind] = {ours: theirs if theirs in there else "" for ours, theirs in mapped.items()}
    company = usable.get("company", {})
    in_numbers = company.get("health_score") and company.get("health_status")
    if not in_numbers and "health_text" not in settings.company and BY_TEXT in schema.attributes.get("company", {}):
        company["health_text"] = BY_TEXT
    for name in schema.no_list:
        list_ = getattr(settings, name)
        found.fatal.append(f"there is no list {list_!r} of {LISTS[name]}; make it, or correct crm.{name}")
    for stage in stages:
        if schema.stages and settings.stage(stage) not in schema.stages:
            there_are = ", ".join(schema.stages)
            found.left_out.append(
                f"deal: there is no stage {settings.stage(stage)!r} for {stage!r}; there are {there_are}"
            )
    return settings.model_copy(update=usable), found
