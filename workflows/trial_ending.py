"""Trial ending: the worked example of docs/authoring.md."""

from temporalio import workflow

from models.cases import Case, Ending
from workflows.playbook import Playbook
from workflows.steps import Start, on_day


@workflow.defn(name="trial-ending")
class TrialEnding(Playbook):
    """A trial began: show what it is good for, and say when it ends."""

    starts_on = (Start("trial.started"),)
    ends_on = ("plan.upgraded", "trial.cancelled")
    outcomes = ("upgraded", "trial_over", "cancelled")
    marketing = True
    precedence = "value"

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Day 0, 5 and 12 of 14."""
        steps = on_day(0, self.welcome), on_day(5, self.help_them), on_day(12, self.say_that_it_ends, stage="Ending")
        return await self.follow(case, *steps, otherwise="trial_over")

    def welcome(self) -> None:
        """Say what the trial is good for."""
        self.email("trial.ending", days_left=14)

    def help_them(self) -> None:
        """Help them to a first result."""
        self.email("trial.ending", days_left=9)

    def say_that_it_ends(self) -> None:
        """Say that the trial ends in two days."""
        self.email("trial.ending", days_left=2)

    def part(self, reason: str) -> str:
        """Nothing is owed at the end."""
        return {"plan.upgraded": "upgraded", "trial.cancelled": "cancelled"}.get(reason, "ended_by_lead")
