"""One playbook, and every kind of edit a deploy may bring to it while runs sleep. `EDITS` is the table in the guide."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from temporalio import workflow

from models import facts
from models.cases import Case, Ending
from models.facts import Fact
from workflows.playbook import Playbook
from workflows.steps import Start, Step, on_day, when

NAME = "letters"


class Letters(Playbook):
    """Four letters, a branch, a question; what the edits start from."""

    starts_on = (Start(facts.USER_SIGNED_UP),)
    ends_on: ClassVar[tuple[str, ...]] = (facts.SUBSCRIPTION_CANCELLED,)

    def first(self) -> None:
        """Write the first letter."""
        self.task("first")

    def second(self) -> None:
        """Write the second letter, and ask a person."""
        self.task("second")
        self.ask("A question", answers=("yes", "no"), then=self.hear_the_answer)

    def third(self) -> None:
        """Write the third letter."""
        self.task("third")

    def fourth(self) -> None:
        """Write the fourth letter."""
        self.task("fourth")

    def added(self) -> None:
        """Write a letter that was not there before."""
        self.task("added")

    def hear_the_answer(self, answer: str) -> None:
        """Hear the answer."""
        self.task(f"heard {answer}")

    def is_true(self) -> bool:
        """Only sometimes."""
        return True

    @when(facts.CARD_UPDATED)
    def react(self, fact: Fact) -> None:
        """React to a card."""
        self.task("reacted")

    async def play(self, case: Case, *steps: Step | None) -> Ending:
        """Follow the steps."""
        return await self.follow(case, *steps, otherwise="over")


@workflow.defn(name=NAME)
class Original(Letters):
    """The code that the runs began under."""

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """The plan before any edit."""
        return await self.play(
            case,
            on_day(0, self.first),
            on_day(3, self.second),
            on_day(7, self.third, stage="Third", only_if=self.is_true),
            on_day(14, self.fourth),
        )


@workflow.defn(name=NAME)
class DayMoved(Letters):
    """A step moved to other days, earlier and later."""

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Days 2, 9 and 21 for 3, 7 and 14."""
        return await self.play(
            case,
            on_day(0, self.first),
            on_day(2, self.second),
            on_day(9, self.third, stage="Third", only_if=self.is_true),
            on_day(21, self.fourth),
        )


class Reworded(Letters):
    """Other titles, other effects in the steps, another condition."""

    def second(self) -> None:
        """Write the second letter in other words."""
        self.task("second, reworded")
        self.task("and one more")

    def third(self) -> None:
        """Write the third letter in other words."""
        self.show_banner("dunning.banner")
        self.ask("A question that was not there before")

    def is_true(self) -> bool:
        """Never any more."""
        return False


@workflow.defn(name=NAME)
class TitleTemplateAndBranch(Reworded):
    """Titles, templates, effects, a condition inside a step: none of it is a command."""

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """The same steps on the same days."""
        return await self.play(
            case,
            on_day(0, self.first),
            on_day(3, self.second),
            on_day(7, self.third, stage="The third", only_if=self.is_true),
            on_day(14, self.fourth),
        )


@workflow.defn(name=NAME)
class ExitFactAdded(Letters):
    """One more way to end, and one more fact that is answered."""

    ends_on = (facts.SUBSCRIPTION_CANCELLED, facts.UNSUBSCRIBED)

    @when(facts.TRAINING_BOOKED)
    def note_it(self, fact: Fact) -> None:
        """Note a booking."""

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """The same plan."""
        return await self.play(
            case,
            on_day(0, self.first),
            on_day(3, self.second),
            on_day(7, self.third, stage="Third", only_if=self.is_true),
            on_day(14, self.fourth),
        )


class CaseWithMore(Case):
    """The input with one more field that has a default."""

    language: str = "en"


@workflow.defn(name=NAME)
class InputFieldAdded(Letters):
    """The input has one more field."""

    @workflow.run
    async def run(self, case: CaseWithMore) -> Ending:
        """The same plan; old inputs lack the field."""
        return await self.play(
            case,
            on_day(0, self.first),
            on_day(3, self.second) if case.language == "en" else None,
            on_day(7, self.third, stage="Third", only_if=self.is_true),
            on_day(14, self.fourth),
        )


@workflow.defn(name=NAME)
class TimeoutChanged(Letters):
    """Other timeouts and retries in the base."""

    activity_timeout = timedelta(seconds=60)

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """The same plan."""
        return await self.play(
            case,
            on_day(0, self.first),
            on_day(3, self.second),
            on_day(7, self.third, stage="Third", only_if=self.is_true),
            on_day(14, self.fourth),
        )


def _new(patch: str, guarded: bool) -> bool:
    """Whether a run of today's plan is meant: with the guard, only one that did not begin before."""
    return workflow.patched(patch) if guarded else True


class Added(Letters):
    """A step more, first, in the middle or last."""

    guarded = True
    at = 0

    async def follow_it(self, case: Case) -> Ending:
        """The four letters and one more on day `at`."""
        new = _new(f"added-{self.at}", self.guarded)
        extra = on_day(self.at, self.added)
        return await self.play(
            case,
            extra if new and self.at == 0 else None,
            on_day(0, self.first),
            on_day(3, self.second),
            extra if new and 0 < self.at < 14 else None,
            on_day(7, self.third, stage="Third", only_if=self.is_true),
            on_day(14, self.fourth),
            extra if new and self.at > 14 else None,
        )


@workflow.defn(name=NAME)
class AddedFirst(Added):
    """First."""

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Before all others."""
        return await self.follow_it(case)


@workflow.defn(name=NAME)
class AddedFirstPlain(Added):
    """First, without the guard."""

    guarded = False

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Before all others."""
        return await self.follow_it(case)


@workflow.defn(name=NAME)
class AddedFirstForGood(Letters):
    """First, once no run is on the plan from before: the patch is only kept for the runs that took it."""

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Before all others, without a condition."""
        workflow.deprecate_patch("added-0")
        return await self.play(
            case,
            on_day(0, self.added),
            on_day(0, self.first),
            on_day(3, self.second),
            on_day(7, self.third, stage="Third", only_if=self.is_true),
            on_day(14, self.fourth),
        )


@workflow.defn(name=NAME)
class AddedInTheMiddle(Added):
    """In the middle."""

    at = 5

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Between the second and the third."""
        return await self.follow_it(case)


@workflow.defn(name=NAME)
class AddedInTheMiddlePlain(Added):
    """In the middle, without the guard."""

    at = 5
    guarded = False

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Between the second and the third."""
        return await self.follow_it(case)


@workflow.defn(name=NAME)
class AddedLast(Added):
    """Last."""

    at = 20

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """After all others."""
        return await self.follow_it(case)


@workflow.defn(name=NAME)
class AddedLastPlain(Added):
    """Last, without the guard: it replays, as no run that is open has got so far."""

    at = 20
    guarded = False

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """After all others."""
        return await self.follow_it(case)


class Changed(Letters):
    """The second step removed, renamed, or after the third; the third without its condition."""

    guarded = True
    how = ""

    async def follow_it(self, case: Case) -> Ending:
        """The four letters, changed in one way."""
        new = _new(self.how, self.guarded)
        how = self.how if new else ""
        return await self.play(
            case,
            on_day(0, self.first),
            on_day(3, self.second, name="second_renamed" if how == "renamed" else "") if how != "removed" else None,
            on_day(7, self.third, stage="Third", only_if=None if how == "condition" else self.is_true),
            on_day(14, self.fourth),
        )

    async def reorder(self, case: Case) -> Ending:
        """The third before the second."""
        new = _new("reordered", self.guarded)
        return await self.play(
            case,
            on_day(0, self.first),
            on_day(3, self.second),
            on_day(2 if new else 7, self.third, stage="Third", only_if=self.is_true),
            on_day(14, self.fourth),
        )


@workflow.defn(name=NAME)
class Removed(Changed):
    """Removed."""

    how = "removed"

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Without the second."""
        return await self.follow_it(case)


@workflow.defn(name=NAME)
class RemovedPlain(Changed):
    """Removed, without the guard."""

    how = "removed"
    guarded = False

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Without the second."""
        return await self.follow_it(case)


@workflow.defn(name=NAME)
class Renamed(Changed):
    """Renamed."""

    how = "renamed"

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """The second under another name."""
        return await self.follow_it(case)


@workflow.defn(name=NAME)
class RenamedPlain(Changed):
    """Renamed, without the guard."""

    how = "renamed"
    guarded = False

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """The second under another name."""
        return await self.follow_it(case)


@workflow.defn(name=NAME)
class ConditionTaken(Changed):
    """A step loses its condition (and with it, the look before it)."""

    how = "condition"

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """The third always."""
        return await self.follow_it(case)


@workflow.defn(name=NAME)
class ConditionTakenPlain(Changed):
    """A step loses its condition, without the guard."""

    how = "condition"
    guarded = False

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """The third always."""
        return await self.follow_it(case)


@workflow.defn(name=NAME)
class Reordered(Changed):
    """Reordered."""

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """The third first."""
        return await self.reorder(case)


@workflow.defn(name=NAME)
class ReorderedPlain(Changed):
    """Reordered, without the guard."""

    guarded = False

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """The third first."""
        return await self.reorder(case)


@dataclass(frozen=True)
class Edit:
    """A row of the table: the edit, its code, and where a patch is needed, the code without it."""

    what: str
    code: type[Playbook]
    plain: type[Playbook] | None = None


EDITS = (
    Edit("day moved", DayMoved),
    Edit("title, template, effects or a condition inside a step changed", TitleTemplateAndBranch),
    Edit("timeout changed", TimeoutChanged),
    Edit("exit fact or answered fact added", ExitFactAdded),
    Edit("input field added, with a default", InputFieldAdded),
    Edit("step added first", AddedFirst, AddedFirstPlain),
    Edit("step added in the middle", AddedInTheMiddle, AddedInTheMiddlePlain),
    Edit("step added last", AddedLast, AddedLastPlain),
    Edit("step removed", Removed, RemovedPlain),
    Edit("step renamed", Renamed, RenamedPlain),
    Edit("steps reordered", Reordered, ReorderedPlain),
    Edit("only_if or fresh added to a step, or taken from it", ConditionTaken, ConditionTakenPlain),
)
