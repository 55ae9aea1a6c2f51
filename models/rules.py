"""The automatic rules (T3): what a reading has to be for somebody to be told, and what then happens. A table.

Rules that a playbook of their own holds are not here: logins and use that halve (usage decline), payments that fail
(payment failure), low health and churn signals (at risk, churn risk).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Readings = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """One rule: the readings it needs, when it is crossed, and what follows.

    Without one of its readings it is not crossed. `signal` is raised, `task` opened for the CSM or `owner`, `mail`
    sent, `banner` shown; `favour` is what a customer is asked for (P0.9). Once a month while it holds.
    """

    name: str
    says: str
    needs: tuple[str, ...]
    when: Callable[..., bool]
    ledger: str
    signal: str = ""
    task: str = ""
    owner: str = ""
    due_in_days: float = 2
    mail: str = ""
    banner: str = ""
    favour: str = ""

    def is_crossed(self, readings: Readings) -> bool:
        """Whether it holds."""
        values = [readings.get(name) for name in self.needs]
        return None not in values and self.when(*values)


RULES: Final = (
    Rule(
        "support_escalation",
        "more than 3 open tickets, and satisfaction below 3",
        ("open_tickets", "satisfaction"),
        lambda tickets, satisfaction: tickets > 3 and satisfaction < 3,
        "T3.2",
        signal="support escalation",
        task="Support is failing this customer: step in",
        owner="manager",
        due_in_days=1,
    ),
    Rule(
        "adoption_risk",
        "less than half of the core features used after 60 days",
        ("core_feature_pct", "tenure_days"),
        lambda adoption, tenure: adoption < 50 and tenure > 60,
        "T3.4",
        signal="low adoption",
        task="Offer a training session: little of the product is used",
    ),
    Rule(
        "near_limit",
        "at 80 % of the plan's limit or more",
        ("limit_used_pct",),
        lambda used: used >= 80,
        "T3.5",
        banner="alert.limit",
        favour="upsell",
    ),
    Rule(
        "no_login",
        "no login for 14 days",
        ("days_since_login",),
        lambda days: days >= 14,
        "T3.5",
        mail="alert.update",
    ),
    Rule(
        "detractor",
        "an NPS answer of 0 to 6",
        ("nps",),
        lambda nps: nps <= 6,
        "T3.5",
        task="Contact them personally within a day: they would not recommend us",
        due_in_days=1,
    ),
    Rule(
        "lead_volume",
        "more than 80 % of the leads in the plan",
        ("lead_used_pct",),
        lambda used: used > 80,
        "T3.6",
        task="Their leads are about to pass the plan's limit",
        banner="alert.limit",
        favour="upsell",
    ),
    Rule(
        "wants_more",
        "asked for a feature of a higher plan",
        ("feature_wanted",),
        lambda wanted: wanted != "none",
        "T3.6",
        task="They asked for a feature of a higher plan: talk about an upgrade",
        favour="upsell",
    ),
    Rule(
        "expansion",
        "a return of more than 3, and satisfaction above 4",
        ("roi", "satisfaction"),
        lambda roi, satisfaction: roi > 3 and satisfaction > 4,
        "T3.6",
        task="They get a lot out of it: talk about growing",
        favour="upsell",
    ),
    Rule(
        "team_outgrew_plan",
        "more people than the plan has users",
        ("team_size", "plan_users"),
        lambda team, users: team > users,
        "T3.7",
        task="Cross-sell: their team is larger than their plan",
        favour="cross-sell",
    ),
    Rule(
        "integrations_over_limit",
        "more integrations than the plan allows",
        ("integrations", "integration_limit"),
        lambda integrations, limit: integrations > limit,
        "T3.7",
        task="Cross-sell: they need more integrations",
        favour="cross-sell",
    ),
    Rule(
        "api_grows",
        "use of the API grew by more than half",
        ("api_growth_pct",),
        lambda growth: growth > 50,
        "T3.7",
        task="Cross-sell: they build on the API",
        favour="cross-sell",
    ),
)
BY_NAME: Final[Mapping[str, Rule]] = {rule.name: rule for rule in RULES}


def crossed(readings: Readings) -> list[Rule]:
    """The rules that hold for these readings, in the table's order."""
    return [rule for rule in RULES if rule.is_crossed(readings)]
