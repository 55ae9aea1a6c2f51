"""The catalogue: what each playbook does, made from its code by rehearsing it. Shown at /playbooks."""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final

from models.cases import Banner, Email, Task
from models.policy import Policy
from workers.preview import About, Line, preview, rehearsed, sample_case
from workers.rehearsal import Rehearsed
from workflows import PLAYBOOKS
from workflows.playbook import Playbook
from workflows.steps import name_of, reactions_of, title_of

SEGMENTS: Final = ("starter", "mid", "enterprise")
MRR: Final = {"starter": 2_900, "mid": 90_000, "enterprise": 300_000}
BEGAN: Final = datetime(2026, 11, 2, 9, tzinfo=UTC)
"""A Monday morning; the same catalogue whenever it is made."""
INTRO: Final = """# Playbooks

Made from the code by `./holdfast playbooks --write`; a test fails when it is out of date. Days count from the start of
the run unless a step says otherwise. Every threshold and day is a field of the [policy](../models/policy.py).
"""


@dataclass(frozen=True)
class Row:
    """A step of a calendar: when, what it is, and everything it does or may leave undone."""

    when: str
    title: str
    does: tuple[str, ...] = ()
    only_if: str = ""


@dataclass(frozen=True)
class Variant:
    """One calendar; `label` says whose it is, empty where there is only one."""

    label: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Entry:
    """One playbook."""

    name: str
    summary: str
    starts_on: tuple[str, ...]
    answers: dict[str, str]
    ends_on: dict[str, tuple[str, ...]]
    outcomes: tuple[str, ...]
    watches: str
    contents: tuple[str, ...]
    variants: tuple[Variant, ...] = field(default=())


def about(segment: str) -> About:
    """A sample account of a segment, with the revenue that makes it one."""
    return About(segment=segment, mrr=MRR[segment])


def catalogue(policy: Policy | None = None, playbooks: Sequence[type[Playbook]] = PLAYBOOKS) -> list[Entry]:
    """Every playbook, in the order of the list in `workflows/__init__.py`."""
    return [entry_of(playbook, policy or Policy()) for playbook in playbooks]


def entry_of(playbook: type[Playbook], policy: Policy) -> Entry:
    """One playbook's entry: rehearsed for every segment, trigger and value that it starts on."""
    calendars: dict[tuple[Row, ...], list[str]] = {}
    endings: dict[str, list[str]] = {}
    contents: set[str] = set()
    outcomes: list[str] = list(playbook.outcomes)
    for segment, start in product(SEGMENTS, playbook.starts_on):
        for value in start.values or ("",):
            whom = about(segment)
            case = sample_case(playbook, policy, whom, BEGAN, value=value, trigger=start.fact)
            if playbook.refuses(case):
                continue
            run, _ = rehearsed(playbook, case, whom, BEGAN)
            shown = preview(playbook, policy, about=whom, start=BEGAN, value=value, trigger=start.fact)
            label = ", ".join(part for part in (segment, value) if part)
            calendars.setdefault(tuple(_rows(run, shown.lines)), []).append(label)
            for reason, each in run.endings.items():
                known = endings.setdefault(reason, [])
                known.extend(outcome for outcome in each if outcome not in known)
            contents |= _contents(run)
            if shown.outcome not in outcomes:
                outcomes.append(shown.outcome)
    outcomes += [each for found in endings.values() for each in found if each not in outcomes]
    return Entry(
        name=name_of(playbook),
        summary=(inspect.getdoc(playbook) or "").splitlines()[0],
        starts_on=tuple(start.fact for start in playbook.starts_on),
        answers={
            fact: title_of(getattr(playbook, method))
            for fact, method in sorted(reactions_of(playbook).items())
            if fact not in reactions_of(Playbook)
        },
        ends_on={reason: tuple(found) for reason, found in endings.items()},
        outcomes=tuple(dict.fromkeys(outcomes)),
        watches=playbook.watches,
        contents=tuple(sorted(contents)),
        variants=tuple(
            Variant("; ".join(dict.fromkeys(labels)) if len(calendars) > 1 else "", rows)
            for rows, labels in calendars.items()
        ),
    )


def _rows(run: Rehearsed, lines: Iterable[Line]) -> Iterable[Row]:
    does: dict[str, list[str]] = {}
    for line in lines:
        if line.what and not line.why_not:
            template = f" ({line.template})" if line.template else ""
            does.setdefault(line.step, []).append(f"{line.channel}: {line.what}{template}")
        elif line.why_not and line.what:
            does.setdefault(line.step, []).append(f"not: {line.what}")
    for step in run.steps:
        when, _, title = step.title.partition(": ")
        yield Row(when, title, tuple(does.get(step.name, ())), step.only_if)


def _contents(run: Rehearsed) -> set[str]:
    effects = [*(effect for moment in run.moments for effect in moment.batch.effects), *run.owed]
    found = {each.template for each in effects if isinstance(each, Email | Banner | Task) and each.template}
    return found | {other for each in effects if isinstance(each, Email) for other in each.by_decline.values()}


def as_markdown(entries: Sequence[Entry]) -> str:
    """docs/playbooks.md."""
    parts = [INTRO]
    for entry in entries:
        parts.append(f"## {entry.name}\n\n{entry.summary}\n")
        parts.append(f"![{entry.name}](pictures/playbooks/{entry.name}.svg)\n")
        parts.append(f"- **Starts on** {_codes(entry.starts_on)}")
        for fact, title in entry.answers.items():
            parts.append(f"- **Answers** `{fact}`: {title}")
        for reason, outcomes in entry.ends_on.items():
            parts.append(f"- **Ends on** `{reason}`: {', '.join(outcomes)}")
        parts.append(f"- **Outcomes** {', '.join(entry.outcomes)}")
        parts.append(f"- **Looks at** `{entry.watches}` before every step")
        if entry.contents:
            parts.append(f"- **Contents** {_codes(entry.contents)}")
        parts.append("")
        for variant in entry.variants:
            if variant.label:
                parts.append(f"### {entry.name}: {variant.label}\n")
            parts.append("| When | Step | Does | Only |\n|---|---|---|---|")
            parts += [f"| {row.when} | {row.title} | {'<br>'.join(row.does)} | {row.only_if} |" for row in variant.rows]
            parts.append("")
    return "\n".join(parts)


def as_json(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """For scripts and for the page."""
    return [
        {
            "name": entry.name,
            "summary": entry.summary,
            "starts_on": list(entry.starts_on),
            "answers": entry.answers,
            "ends_on": {reason: list(outcomes) for reason, outcomes in entry.ends_on.items()},
            "outcomes": list(entry.outcomes),
            "watches": entry.watches,
            "contents": list(entry.contents),
            "variants": [
                {
                    "label": variant.label,
                    "rows": [
                        {"when": row.when, "title": row.title, "does": list(row.does), "only_if": row.only_if}
                        for row in variant.rows
                    ],
                }
                for variant in entry.variants
            ],
        }
        for entry in entries
    ]


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
