"""Reinstatement (ledger P1.13): the money came after the case had ended in a suspension; give back what was taken."""

from temporalio import workflow

from models import facts
from models.cases import Case, Ending
from workflows.playbook import Playbook
from workflows.steps import Start, on_day


@workflow.defn(name="reinstatement")
class Reinstatement(Playbook):
    """Paid after all: lift the suspension and say thank you."""

    starts_on = (Start(facts.INVOICE_PAID, only_if_limited=True),)
    ends_on = (facts.INVOICE_PAID,)
    watches = "invoices"

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Look once; whether everything is paid is the only question."""
        return await self.follow(case, on_day(0, self.see_whether_all_is_paid), otherwise="still_unpaid")

    def see_whether_all_is_paid(self) -> None:
        """See whether everything that was owed is paid."""

    def part(self, reason: str) -> str:
        """Give the account back."""
        self.restore_access()
        self.take_down_banner()
        self.clear_risk("payment issues")
        self.email("dunning.recovered")
        return "ended_by_lead" if reason == facts.ENDED_BY_LEAD else "reinstated"
