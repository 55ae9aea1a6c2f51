"""Onboarding (ledger P7): thirty days to first value; by itself, guided, or white-glove, as the segment asks for."""

from collections.abc import Iterable

from temporalio import workflow

from models import facts, onboarding
from models.cases import Case, Ending
from models.onboarding import LESSONS
from workflows.onboarding_touches import Touches
from workflows.steps import Start, Step, on_day, on_hour

BEHIND = "onboarding behind"
COMPLETED_LATE = "completed_late"
CONGRATULATED = 6
"""Days after the start on which self-service celebrates the first week (P7.8)."""


@workflow.defn(name="onboarding")
class Onboarding(Touches):
    """A new customer: lead them to first value, and notice early where they get stuck."""

    misses = 0
    nudged = False
    band = ""
    starts_on = (Start(facts.USER_SIGNED_UP), Start(facts.HANDOFF_COMPLETED))
    ends_on = (facts.ONBOARDED, facts.SUBSCRIPTION_CANCELLED)
    watches = "onboarding"
    precedence = "value"
    cooldown_days = 3650
    writes_to = "champion"
    marketing = True
    outcomes = ("activated", COMPLETED_LATE, "stalled", "cancelled")

    @classmethod
    def refuses(cls, case: Case) -> str:
        """Guided and white-glove runs wait for the sales handoff record (P7.3)."""
        variant = onboarding.variant_for(case.segment, case.policy.onboarding)
        if case.trigger == facts.USER_SIGNED_UP and variant != "self_service":
            return f"{variant} onboarding starts with {facts.HANDOFF_COMPLETED}"
        return ""

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """The variant by segment (P7.1); self-service counts from day 1, the others from day 0 (P0.2)."""
        self.case, self.rules = case, case.policy.onboarding
        self.variant = onboarding.variant_for(case.segment, self.rules)
        plan = {"self_service": self.by_themselves, "guided": self.guided, "white_glove": self.white_glove}
        first = 1 if self.variant == "self_service" else 0
        return await self.follow(
            case,
            *self.milestones(),
            *plan[self.variant](),
            *[on_day(first + n, self.look_after_them, name=f"score_{n}", fresh=True) for n in self.rules.score_days],
            on_day(first + self.rules.late_day, self.take_stock_again, fresh=True),
            otherwise=self.how_it_ended,
            counts_from=first,
        )

    # The variants.

    def milestones(self) -> list[Step]:
        """Each milestone is looked at half a day after it was due, so that a nudge comes within a day (P7.21)."""
        due = {name: hours for name, hours in self.rules.milestone_hours.items() if name != "created"}
        return [
            on_hour(hours + 12, self.nudge_if_missed, name=f"milestone_{name}", fresh=True)
            for name, hours in due.items()
        ]

    def by_themselves(self) -> list[Step]:
        """Self-service: mails, and the product (P7.8 to P7.12)."""
        value, upsell, advocate = self.rules.week_4_days
        week = onboarding.weeks_of([*self.rules.lessons, value], first=1)
        return [
            on_day(1, self.welcome, stage="Week 1"),
            on_day(3, self.ask_how_it_goes, fresh=True),
            on_day(7, self.celebrate_or_help, fresh=True),
            *[
                on_day(day, self.teach, name=f"lesson_{day}", stage=week.get(day, ""), fresh=bool(LESSONS[what].item))
                for day, what in self.rules.lessons.items()
            ],
            on_day(value, self.check_the_value, stage=week.get(value, "")),
            on_day(upsell, self.assess_the_upsell, only_if=self.is_healthy),
            on_day(advocate, self.invite_to_advocate, only_if=self.is_healthy),
            on_day(31, self.take_stock, stage="Extended", fresh=True),
        ]

    def white_glove(self) -> list[Step]:
        """White-glove: a person for every session (P7.13 to P7.17)."""
        return self.with_people(
            sessions=[day for day in self.rules.sessions if day not in (28, 30)], groups=(), mails=()
        )

    def guided(self) -> list[Step]:
        """Guided: calls on three days, group training on four, mails between (P7.18)."""
        rules = self.rules
        return self.with_people(sessions=rules.guided_calls, groups=rules.guided_groups, mails=rules.guided_mails)

    def with_people(self, *, sessions: Iterable[int], groups: Iterable[int], mails: Iterable[int]) -> list[Step]:
        """What both have: a touch on every day of the plan, a talk about growing, an assessment, a plan."""
        touches = dict.fromkeys(sessions, ("session", self.hold_a_session))
        touches |= dict.fromkeys(groups, ("group", self.train_in_a_group))
        touches |= dict.fromkeys(mails, ("mail", self.send_between))
        week = onboarding.weeks_of([*touches, 28], first=0)
        return [
            on_day(0, self.welcome, stage="Week 1"),
            *[
                on_day(day, do, name=f"{kind}_{day}", stage=week.get(day, ""))
                for day, (kind, do) in sorted(touches.items())
            ],
            on_day(self.rules.weekend_day, self.leave_them_the_weekend),
            on_day(self.rules.expansion_day, self.speak_of_expansion, only_if=self.is_ready_to_grow),
            on_day(28, self.assess_the_onboarding, stage=week.get(28, "")),
            on_day(30, self.finish_with_a_plan, stage="Finishing", fresh=True),
        ]

    # Every variant.

    def nudge_if_missed(self) -> None:
        """Nudge those who missed a milestone; a second miss counts as falling behind."""
        name = self.step.removeprefix("milestone_")
        self.put_away_the_nudge()
        if not self.given(name in str(self.reading("missed")).split(), f"{name} was reached in time"):
            return
        self.misses += 1
        step = onboarding.name_of(name, self.rules)
        if name in self.rules.nudge_by_mail.get(self.variant, ()):
            self.email("onboarding.milestone_missed", next_step=step)
        else:
            self.nudged = True
            self.show_banner("onboarding.nudge", next_step=step)
        if self.misses == 2:
            self.raise_risk(BEHIND)

    def put_away_the_nudge(self) -> None:
        """A nudge in the product stays until the next look at them."""
        if self.nudged:
            self.nudged = False
            self.take_down_banner()

    def look_after_them(self) -> None:
        """Act on the onboarding score: celebrate, help, or come to the rescue."""
        self.put_away_the_nudge()
        self.given(self.misses < 2, "two milestones were missed, which counts as one band lower")
        band = self.counted_band
        the_day_after = self.congratulated and self.day == CONGRATULATED + 1
        if not self.given(band != self.band, f"still {band.replace('_', ' ')}: that was acted on before"):
            self.mention_what_is_due()
        elif band != "healthy" or self.given(not the_day_after, "they were congratulated yesterday"):
            self.band = band
            {"healthy": self.celebrate, "at_risk": self.help_them, "critical": self.come_to_the_rescue}[band]()

    def mention_what_is_due(self) -> None:
        """Those who are on their own hear of an item that is past its day (P7.12)."""
        if self.variant == "self_service" and self.reading("due_items"):
            self.pick_up_where_they_left_off()

    def celebrate(self) -> None:
        """Celebrate, point to what comes next, ask for a testimonial (P7.22)."""
        self.email("onboarding.celebrate")

    def help_them(self) -> None:
        """Send resources, offer help and training, have the CSM check in (P7.23)."""
        self.email("onboarding.help")
        title = "Check in with a new customer at risk"
        self.ask(title, template="onboarding.check_in", answers=("helped", "not_reached", "cancelling"))

    def come_to_the_rescue(self) -> None:
        """Call today, agree on a plan, escalate to the account manager (P7.24)."""
        self.ask(
            "Call a new customer in trouble today",
            template="onboarding.rescue",
            answers=("plan_agreed", "not_reached", "cancelling"),
            within_days=1,
        )
        self.task("A new customer is in trouble", template="onboarding.escalation", owner="account_executive")

    # How it ends.

    def take_stock(self) -> None:
        """See whether they are there; the others get two weeks more."""
        self.late = not self.given(self.is_complete, "the checklist is not done: two weeks more")
        if not self.late:
            self.tell(facts.ONBOARDED)

    def take_stock_again(self) -> None:
        """See whether they got there late."""
        if self.given(self.is_complete, "the checklist is still not done"):
            self.tell(facts.ONBOARDED)

    def part(self, reason: str) -> str:
        """Take the nudges down, and name what it came to (P7.27)."""
        self.take_down_banner()
        self.clear_risk(BEHIND)
        if reason == facts.ONBOARDED:
            return COMPLETED_LATE if self.late else "activated"
        return "cancelled" if reason == facts.SUBSCRIPTION_CANCELLED else "ended_by_lead"

    def how_it_ended(self) -> str:
        """They got there after all, or stalled, which at-risk recovery hears."""
        if self.is_complete:
            return self.part(facts.ONBOARDED)
        self.take_down_banner()
        self.tell(facts.ONBOARDING_STALLED)
        return "stalled"

    # The rules of this playbook.

    def is_healthy(self) -> bool:
        """Only where the onboarding score is healthy."""
        return self.counted_band == "healthy"

    def is_ready_to_grow(self) -> bool:
        """Only from a return of twice the price and good health on."""
        roi = int(self.reading("roi_tenths", -1)) / 10
        return roi >= self.rules.expansion_roi and int(self.reading("health", -1)) >= self.rules.expansion_health

    @property
    def counted_band(self) -> str:
        """The band of the onboarding score; one lower after two missed milestones (P7.21)."""
        band = str(self.reading("onboarding_band"))
        return band if self.misses < 2 else onboarding.one_lower(band)
