"""A letter that could not be written is found before anything is sent (C15)."""

import ast
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from temporalio import workflow

from activities import letters
from activities.merge_fields import Fields
from activities.watches import known_watches
from models.cases import Batch, Case, Email, Ending
from models.customers import Contract
from models.database import Database
from models.picture import Picture
from models.policy import Policy, PolicyFile
from models.tables import Account, CaseRow, CaseSubject
from tests.workers.test_catalogue import NOT_YET_USED
from workers import letter_check
from workers.letter_check import GIVES, LettersLackFields, make_sure, sample_fields
from workflows import PLAYBOOKS
from workflows.playbook import Playbook
from workflows.steps import Start, on_day

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WORKFLOWS = Path(letter_check.__file__).parent.parent / "workflows"


def test_c15_every_letter_of_every_playbook_can_be_written() -> None:
    make_sure(PolicyFile())


def test_c15_a_policy_without_the_words_a_letter_needs_is_told_before_the_start() -> None:
    policy = PolicyFile({"links": {"help": ""}})
    with pytest.raises(LettersLackFields) as caught:
        make_sure(policy)
    assert "  onboarding: onboarding.d3 (en) lacks help_url\n" in str(caught.value)
    assert str(caught.value).endswith("mend the template; nothing was started")


@workflow.defn(name="forgetful")
class Forgetful(Playbook):
    """A playbook that forgot a field, and a template."""

    starts_on = (Start("sample.started"),)
    outcomes = ("over",)

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """One day."""
        return await self.follow(case, on_day(0, self.write), otherwise="over")

    def write(self) -> None:
        """Write three mails."""
        self.email("trial.ending", days_left=14)
        self.email("usage.d3_severe")
        self.email("no.such")


def test_c15_what_a_playbook_does_not_give_is_told_by_playbook_template_and_language() -> None:
    assert sorted(set(letter_check.problems(PolicyFile(), [Forgetful]))) == [
        "forgetful: there is no template no.such",
        "forgetful: usage.d3_severe (en) lacks unused_feature, usage_delta",
    ]


def test_c15_letters_that_no_rehearsal_takes_ask_for_nothing_that_nobody_gives() -> None:
    words = {
        keyword.arg
        for path in WORKFLOWS.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    }
    known = sample_fields(frozenset().union(*GIVES.values()), Policy()) | dict.fromkeys(filter(None, words), 1)
    batch = Batch(case="c", account="a", subject="s", playbook="p", step="s", title="t", since=NOW, now=NOW)
    effect = Email(key="k", title="t", template="")
    offer = letter_check.SampleOffer()
    fields = Fields("https://x.example", "secret").of(batch, Picture(fields=known), Policy(), effect, offer=offer)
    lacking = {
        (key, locale): letters.missing(key, fields, locale)
        for key in letters.templates()
        for locale in letters.locales_of(key)
        if key not in NOT_YET_USED
    }
    assert {key: names for key, names in lacking.items() if names} == {}


@pytest.mark.parametrize("name", sorted(GIVES.keys() - {"invoices"}))
async def test_c15_each_watch_gives_what_it_says_it_gives(database: Database, name: str) -> None:
    async with database.writing() as session:
        session.add(Account(id="cus_1", churned_at=NOW if name == "churn" else None, card_expires_on=date(2027, 1, 31)))
        session.add(Contract(id="con_9", account_id="cus_1", renews_on=date(2027, 2, 1)))
        session.add(
            CaseRow(id="c", playbook="p", account_id="cus_1", subject="con_9/2027-02-01", opened_at=NOW - timedelta(1))
        )
        await session.flush()
        session.add(CaseSubject(case_id="c", subject="con_9/2027-02-01", joined_at=NOW))
    watch = next(each for each in known_watches(database, PolicyFile()) if each.name == name)
    batch = Batch(
        case="c", account="cus_1", subject="con_9/2027-02-01", playbook="p", step="s", title="t", since=NOW, now=NOW
    )
    assert (await watch.look(batch)).fields.keys() == watch.gives


def test_c15_every_playbook_looks_where_the_check_knows_what_is_given() -> None:
    assert {playbook.watches for playbook in PLAYBOOKS} <= GIVES.keys()
