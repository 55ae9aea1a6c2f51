"""Before a worker takes a step: has every letter the merge fields that its playbook will give (C15)?

Each playbook is rehearsed for every segment and trigger, and each letter it would send is asked which fields it lacks,
in every language, under the policy in force. What a look at the source of truth gives is what its watch says of itself.
Letters of branches that no rehearsal takes are held to it by tests/workers/test_letter_check.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Final

from activities import letters
from activities.merge_fields import Fields
from activities.stripe_picture import GIVES as OF_INVOICES
from activities.watches import WATCHES
from models.cases import Banner, Batch, Case, Email, Task
from models.picture import Person, Picture
from models.policy import Policy, PolicyFile
from workers.catalogue import BEGAN, SEGMENTS, about
from workers.preview import rehearsed, sample_case
from workers.preview_words import FIELDS
from workflows import PLAYBOOKS
from workflows.playbook import Playbook
from workflows.steps import name_of

GIVES: Final = {watch.name: watch.gives for watch in WATCHES} | {"invoices": OF_INVOICES}
"""The merge fields that each watch gives, by its name."""


class LettersLackFields(RuntimeError):
    """Letters that could not be written; the message names each with what it lacks."""

    def __init__(self, found: Sequence[str]) -> None:
        super().__init__(
            "some letters lack what they need to be written:\n  "
            + "\n  ".join(found)
            + "\nGive the fields in the playbook or the policy, or mend the template; nothing was started"
        )


@dataclass(frozen=True)
class SampleOffer:
    """An offer as a letter speaks of one."""

    key: str = "sample"
    pct: int = 20
    months: int = 3
    expires_at = BEGAN + timedelta(days=14)


def make_sure(policy: PolicyFile, playbooks: Sequence[type[Playbook]] = PLAYBOOKS) -> None:
    """Check every letter.

    Raises:
        LettersLackFields: some could not be written.
    """
    found = sorted(set(problems(policy, playbooks)))
    if found:
        raise LettersLackFields(found)


def problems(policy: PolicyFile, playbooks: Sequence[type[Playbook]] = PLAYBOOKS) -> Iterator[str]:
    """A sentence for each letter that lacks something."""
    asked: set[tuple[str, str, str, frozenset[str]]] = set()
    for playbook, segment in product(playbooks, SEGMENTS):
        rules = policy.for_segment(segment)
        for effect, batch in _letters_of(playbook, segment, rules):
            given = frozenset({*effect.fields, *effect.dates, *(("offer",) if getattr(effect, "offer", "") else ())})
            for template in _templates_of(effect):
                key = (name_of(playbook), segment, template, given)
                if key not in asked:
                    asked.add(key)
                    yield from _lacks(playbook, template, effect, batch, rules)


def _letters_of(
    playbook: type[Playbook], segment: str, policy: Policy
) -> Iterator[tuple[Email | Banner | Task, Batch]]:
    """Every letter that a rehearsal of the playbook would send to a segment, with a batch it may be part of."""
    for start in playbook.starts_on:
        for value in start.values or ("",):
            case = sample_case(playbook, policy, about(segment), BEGAN, value=value, trigger=start.fact)
            if playbook.refuses(case):
                continue
            run, _ = rehearsed(playbook, case, about(segment), BEGAN)
            batch = _batch_of(case)
            effects = [effect for moment in run.moments for effect in moment.batch.effects]
            effects += [each for moment in run.moments if moment.batch.closing for each in moment.batch.closing.effects]
            for effect in [*effects, *run.owed]:
                if isinstance(effect, Email | Banner | Task) and effect.template:
                    yield effect, batch


def _batch_of(case: Case) -> Batch:
    names = {"case": case.id, "account": case.account, "subject": case.subject, "playbook": case.playbook}
    return Batch(**names, step="sample", title="A sample.", since=BEGAN, now=BEGAN)


def _templates_of(effect: Email | Banner | Task) -> Iterable[str]:
    return {effect.template, *(effect.by_decline.values() if isinstance(effect, Email) else ())}


def _lacks(
    playbook: type[Playbook], template: str, effect: Email | Banner | Task, batch: Batch, policy: Policy
) -> Iterator[str]:
    gives = GIVES[playbook.watches]
    picture = Picture(fields=sample_fields(gives, policy), people={"billing": Person(name="Zoe Miller")})
    offer = SampleOffer() if isinstance(effect, Email) and effect.offer else None
    fields = Fields("https://pay.example.com", "a sample").of(batch, picture, policy, effect, offer=offer)
    try:
        for locale in letters.locales_of(template):
            missing = letters.missing(template, fields, locale)
            if missing:
                yield f"{name_of(playbook)}: {template} ({locale}) lacks {', '.join(sorted(missing))}"
    except letters.UnknownTemplate:
        yield f"{name_of(playbook)}: there is no template {template}"


def sample_fields(names: Iterable[str], policy: Policy) -> dict[str, str | int]:
    """Something for each field that a watch gives; links of the policy as they stand there."""
    ours = {
        "next_url": policy.links.wizard,
        "update_url": policy.links.billing,
        "reactivate_url": policy.links.reactivate,
    }
    known = {**FIELDS, **ours}
    return {name: known.get(name, "2026-11-02T09:00:00+00:00" if name == "next_attempt" else 1) for name in names}
