"""Accepted offer (ledger O12): whoever made it, and whether that run still lives, what was promised is given."""

from temporalio import workflow

from models import facts
from models.cases import Case, Ending
from workflows.playbook import Playbook
from workflows.steps import Start, on_day, on_hour


@workflow.defn(name="accepted-offer")
class AcceptedOffer(Playbook):
    """An offer was accepted: give what it promised, and have a person look where that fails."""

    starts_on = (Start(facts.OFFER_ACCEPTED, by="object"),)
    one_for_each_subject = True
    cooldown_days = 0
    outcomes = ("given", "needs_a_person")

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Give it at once; look an hour later."""
        return await self.follow(
            case,
            on_day(0, self.give_it),
            on_hour(1, self.ask_a_person, only_if=self.was_not_given),
            otherwise=self.how_it_ended,
        )

    def give_it(self) -> None:
        """Give what the offer promised."""
        self.apply_offer(self.case.subject)

    def ask_a_person(self) -> None:
        """Ask a person to give it by hand."""
        self.task("An accepted offer could not be applied: give it by hand", due_in_days=1)

    def was_not_given(self) -> bool:
        """It was given."""
        return self.reading("apply_offer") != "done"

    def how_it_ended(self) -> str:
        """Given, or left to a person."""
        return "needs_a_person" if self.was_not_given() else "given"
