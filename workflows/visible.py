"""What a CSM lead sees of a run in the Temporal Web UI (P0.12)."""

from datetime import datetime
from typing import Any, Final

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from models.cases import Case
from models.money import major, money
from workflows.steps import Step

ACCOUNT: Final = SearchAttributeKey.for_keyword("AccountId")
PLAYBOOK: Final = SearchAttributeKey.for_keyword("Playbook")
STAGE: Final = SearchAttributeKey.for_keyword("Stage")
SEGMENT: Final = SearchAttributeKey.for_keyword("Segment")
OWNER: Final = SearchAttributeKey.for_keyword("CsmOwner")
CURRENCY: Final = SearchAttributeKey.for_keyword("Currency")
AT_STAKE: Final = SearchAttributeKey.for_float("AmountAtStake")
DATE: Final = SearchAttributeKey.for_datetime("RenewalDate")
STARTED: Final = "Started"

SEARCH_ATTRIBUTES: Final[tuple[SearchAttributeKey[Any], ...]] = (
    ACCOUNT,
    PLAYBOOK,
    STAGE,
    SEGMENT,
    OWNER,
    CURRENCY,
    DATE,
    AT_STAKE,
)


def attributes_of(case: Case, *, with_amount: bool = True) -> TypedSearchAttributes:
    """The search attributes a run starts with: opaque ids, handles and the amount, which are never encrypted.

    Without its amount (payloads are encrypted) a run does not get one later either.
    """
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(ACCOUNT, case.account),
        SearchAttributePair(PLAYBOOK, case.playbook),
        SearchAttributePair(STAGE, STARTED),
        SearchAttributePair(SEGMENT, case.segment or "unknown"),
        SearchAttributePair(OWNER, case.owner or "unassigned"),
        SearchAttributePair(CURRENCY, case.currency.upper()),
    ]
    if with_amount:
        pairs.append(SearchAttributePair(AT_STAKE, float(major(case.at_stake, case.currency))))
    if case.anchor:
        pairs.append(SearchAttributePair(DATE, case.anchor))
    return TypedSearchAttributes(pairs)


def headline(case: Case) -> str:
    """One line for the list of runs."""
    return f"{case.account}: {money(case.at_stake, case.currency)} at stake"


def checklist(
    steps: tuple[Step, ...],
    done: list[str],
    skipped: list[str],
    left_out: dict[str, str],
    upcoming: Step | None,
    due: datetime | None,
    state: str,
) -> str:
    """The plan as a Markdown checklist: done, skipped, next and when."""
    lines = [f"**{state}**", ""] if state else []
    for step in steps:
        if step.name in done:
            lines.append(f"- ✓ {step.title}")
        elif step.name in skipped:
            lines.append(f"- – ~~{step.title}~~ ({left_out.get(step.name, 'skipped')})")
        elif upcoming and step.name == upcoming.name:
            when = f" · **next, {due:%a %d %b %Y %H:%M} UTC**" if due else " · **now**"
            lines.append(f"- ▶ {step.title}{when} · `{step.name}`")
        else:
            lines.append(f"- ○ {step.title} · `{step.name}`")
    return "\n".join(lines)
