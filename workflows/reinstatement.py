"""Reinstatement (ledger P1.13): what was owed is settled after a suspension; give back what was taken."""

from temporalio import workflow

from models import facts
from models.cases import Case, Ending
from workflows.playbook import Playbook
from workflows.steps import Start, on_day


@workflow.defn(name="reinstatement")
class Reinstatement(Playbook):
    """Settled after all: lift the suspension, and say thank you if it was paid."""

    starts_on = (
        Start(facts.INVOICE_PAID, only_if_limited=True),
        Start(facts.INVOICE_VOIDED, only_if_limited=True),
        Start(facts.INVOICE_WRITTEN_OFF, only_if_limited=True),
    )
    ends_on = (facts.INVOICE_PAID, facts.INVOICE_VOIDED, facts.INVOICE_WRITTEN_OFF)
    watches = "invoices"
    notice = "billing"
    cooldown_days = 0

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Look once; whether everything is paid is the only question."""
        return await self.follow(case, on_day(0, self.see_whether_all_is_paid), otherwise="still_unpaid")

    def see_whether_all_is_paid(self) -> None:
        """See whether everything that was owed is paid."""

    def part(self, reason: str) -> str:
        """Give the account back; a person sees to a subscription that was cancelled meanwhile."""
        if reason == facts.ENDED_BY_LEAD:
            return "ended_by_lead"
        self.restore_access()
        self.take_down_banner()
        self.clear_risk("payment issues")
        self.task("Settled after the suspension: does the customer need a new subscription?")
        if reason == facts.INVOICE_PAID:
            self.email("dunning.recovered")
        return "reinstated"
