"""The edits of the drill: text of playbook files before and after, as an engineer would write them."""

from pathlib import Path
from typing import Final

Change = tuple[str, str]

PATCHED_NEW: Final = 'if workflow.patched("{}") else None'
STEP: Final = '''
    def edited(self) -> None:
        """Do what was not done before the deploy."""
        self.task("Added by the deploy")

    def part(self'''

NO_PATCH: Final[dict[str, list[Change]]] = {
    "models/cases.py": [("    strategic: bool = False\n", '    strategic: bool = False\n    edited: str = "none"\n')],
    "workflows/playbook.py": [("timedelta(seconds=120)", "timedelta(seconds=90)")],
    "workflows/usage_decline.py": [
        ("on_day(3, self.check_in", "on_day(4, self.check_in"),
        ('"""Write to them: is everything okay?"""', '"""Write to them in other words."""'),
        ('else "usage.d3")', 'else "usage.self_book")'),
        ("        facts.LULL_PLANNED,\n    )", '        facts.LULL_PLANNED,\n        "edited.exit",\n    )'),
    ],
    "workflows/renewal.py": [
        ('"""Discuss pricing and terms."""', '"""Discuss the money."""'),
        (
            "        self.health_is_low()\n\n    def negotiate",
            '        self.task("One effect more")\n\n    def negotiate',
        ),
    ],
    "workflows/onboarding_touches.py": [('self.email("onboarding.d1")', 'self.email("onboarding.d3")')],
    "workflows/win_back.py": [('self.email("winback.quarterly")', 'self.email("winback.auto4")')],
    "workflows/payment_failure.py": [('self.task("Payment overdue for a week", template="payment.call")\n', "")],
}
"""Edits that need nothing: days, titles, templates, effects, timeouts, exits, an input field."""

NEEDS_PATCH: Final[dict[str, list[Change]]] = {
    "workflows/usage_decline.py": [
        (
            "            on_day(1, self.ask_in_the_product),\n",
            '            on_day(1, self.edited, name="added_first") if workflow.patched("added-first") else None,\n'
            "            on_day(1, self.ask_in_the_product),\n",
        ),
        (
            "            on_day(8, self.share_a_screen, only_if=self.fell_by_half),\n",
            "            on_day(8, self.share_a_screen, only_if=self.fell_by_half)\n"
            '            if not workflow.patched("renamed")\n'
            '            else on_day(8, self.share_a_screen, name="share", only_if=self.fell_by_half),\n',
        ),
        (
            "            on_day(offer_day + 1, self.plan_the_recovery, only_if=self.fell_by_half),\n",
            "            on_day(offer_day + 1, self.plan_the_recovery, only_if=self.fell_by_half)\n"
            '            if not workflow.patched("plan-gone")\n'
            "            else None,\n",
        ),
    ],
    "workflows/renewal.py": [
        (
            "            before(-days.grace_days, self.give_up),\n",
            "            before(-days.grace_days, self.give_up),\n"
            '            before(-days.grace_days - 5, self.edited, name="added_last")\n'
            '            if workflow.patched("added-last")\n'
            "            else None,\n",
        ),
        (
            "            before(days.pricing_day, self.discuss_pricing,",
            '            before(days.pricing_day + (20 if workflow.patched("earlier") else 0), self.discuss_pricing,',
        ),
    ],
    "workflows/onboarding.py": [
        (
            "            *self.milestones(),\n",
            '            *(self.milestones() if not workflow.patched("no-milestones") else []),\n'
            '            on_hour(30, self.edited, name="added_middle")\n'
            '            if workflow.patched("added-middle")\n'
            "            else None,\n",
        ),
    ],
    "workflows/win_back.py": [
        (
            "return await self.follow(case, *plans[self.group](),",
            'new = [on_day(20, self.edited, name="added_middle")] if workflow.patched("added-middle") else []\n'
            "        return await self.follow(case, *plans[self.group](), *new,",
        ),
    ],
    "workflows/payment_failure.py": [
        (
            "            on_day(rules.call_day, self.ask_for_a_call),\n",
            '            on_day(rules.call_day, self.ask_for_a_call, fresh=workflow.patched("fresh-call")),\n',
        ),
        (
            "            on_day(rules.suspend_day, self.suspend),\n",
            '            on_day(20, self.edited, name="added_middle") if workflow.patched("added-middle") else None,\n'
            "            on_day(rules.suspend_day, self.suspend),\n",
        ),
    ],
}
"""Edits that change the order of commands, each with its line."""


class NotThere(LookupError):
    """A file does not hold the text an edit starts from: the drill has to follow the playbooks."""


def apply(root: Path, edits: dict[str, list[Change]]) -> int:
    """Make the edits in a checkout; how many. Raises `NotThere`."""
    count = 0
    for name, changes in edits.items():
        path = root / name
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            if old not in text:
                raise NotThere(f"{name} does not hold {old.strip()[:80]!r}")
            text = text.replace(old, new, 1)
            count += 1
        if "self.edited" in text and "def edited" not in text:
            text = text.replace("\n    def part(self", STEP, 1)
        path.write_text(text, encoding="utf-8")
    return count
