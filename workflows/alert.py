"""Alert (ledger T3): a rule of the table in `models.rules` was crossed, and somebody is told."""

from temporalio import workflow

from models import facts
from models.cases import Case, Ending
from models.rules import BY_NAME, RULES, Rule
from workflows.playbook import Playbook
from workflows.steps import Start, on_day

SIGNAL_DAYS = 14


def is_a_rule(case: Case) -> bool:
    """Whether this version knows the rule."""
    return case.value in BY_NAME


@workflow.defn(name="alert")
class Alert(Playbook):
    """A rule was crossed: tell the right people, or the customer."""

    starts_on = (Start(facts.RULE_CROSSED, values=tuple(rule.name for rule in RULES)),)
    ends_on = (facts.SUBSCRIPTION_CANCELLED,)
    precedence = "value"
    one_for_each_subject = True
    marketing = True
    outcomes = ("told", "churned")

    @classmethod
    def refuses(cls, case: Case) -> str:
        """A rule that was taken out, or is another version's."""
        return "" if is_a_rule(case) else f"there is no rule {case.value!r}"

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Act at once; a signal is taken off two weeks later (H7.9)."""
        steps = [on_day(0, self.act), *([on_day(SIGNAL_DAYS, self.let_go)] if BY_NAME[case.value].signal else [])]
        return await self.follow(case, *steps, otherwise="told")

    @property
    def rule(self) -> Rule:
        """The rule that was crossed."""
        return BY_NAME[self.case.value]

    def act(self) -> None:
        """Do what the rule asks for."""
        rule = self.rule
        self._note(f"Rule {rule.name}: {rule.says}.")
        if rule.signal:
            self.raise_risk(rule.signal)
        if rule.task:
            self.task(
                rule.task,
                template="alert.note",
                owner=rule.owner,
                favour=rule.favour,
                due_in_days=rule.due_in_days,
                rule=rule.says,
            )
        if rule.mail:
            self.email(rule.mail, favour=rule.favour)
        if rule.banner:
            self.show_banner(rule.banner)

    def let_go(self) -> None:
        """Take the signal off; a rule that still holds is crossed again next month."""
        self.clear_risk(self.rule.signal)

    def part(self, reason: str) -> str:
        """Take down what was shown."""
        self.take_down_banner()
        return "churned" if reason == facts.SUBSCRIPTION_CANCELLED else "ended_by_lead"
