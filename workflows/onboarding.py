"""Onboarding (ledger P7): thirty days to first value; by itself, guided, or white-glove, as the segment asks for."""

from temporalio import workflow

from models import facts, onboarding
from models.cases import Case, Ending
from workflows.playbook import Playbook
from workflows.steps import Start, Step, on_day, on_hour

BEHIND = "onboarding behind"
HELD = ("held", "moved", "no_show")
BAND_DAYS = (6, 13, 20)
COMPLETED_LATE = "completed_late"


@workflow.defn(name="onboarding")
class Onboarding(Playbook):
    """A new customer: lead them to first value, and notice early where they get stuck."""

    drops = misses = 0
    band = ""
    late = False
    starts_on = (Start(facts.USER_SIGNED_UP), Start(facts.HANDOFF_COMPLETED))
    ends_on = (facts.ONBOARDED, facts.SUBSCRIPTION_CANCELLED)
    watches = "onboarding"
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
        rules = self.rules = case.policy.onboarding
        variant = onboarding.variant_for(case.segment, rules)
        plan = {
            "self_service": self.by_themselves,
            "guided": self.guided,
            "white_glove": self.white_glove,
        }[variant]
        first = 1 if variant == "self_service" else 0
        return await self.follow(
            case,
            *self.milestones(),
            *plan(),
            *[on_day(first + day, self.look_after_them, name=f"look_{day}", fresh=True) for day in BAND_DAYS],
            on_day(first + rules.late_day, self.take_stock_again, fresh=True),
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
        return [
            on_day(1, self.welcome, stage="Week 1"),
            on_day(3, self.ask_how_it_goes, fresh=True),
            on_day(7, self.celebrate_or_help, fresh=True),
            *[on_day(day, self.teach, name=name, fresh=True) for day, name in TOUCHES.items()],
            on_day(23, self.check_the_value, stage="Week 4"),
            on_day(25, self.assess_the_upsell, only_if=self.is_healthy),
            on_day(27, self.invite_to_advocate, only_if=self.is_healthy),
            on_day(31, self.take_stock, fresh=True),
        ]

    def white_glove(self) -> list[Step]:
        """White-glove: a person for every session (P7.13 to P7.17)."""
        sessions = [
            on_day(day, self.hold_a_session, name=f"session_{day}")
            for day in self.rules.sessions
            if day not in (21, 30)
        ]
        return [
            on_day(0, self.welcome, stage="Week 1"),
            *sessions,
            on_day(21, self.speak_of_expansion, only_if=self.is_ready_to_grow),
            on_day(30, self.finish_with_a_plan, fresh=True),
        ]

    def guided(self) -> list[Step]:
        """Guided: calls on three days, group training on four, mails between (P7.18)."""
        return [
            on_day(0, self.welcome, stage="Week 1"),
            *[on_day(day, self.hold_a_session, name=f"session_{day}") for day in self.rules.guided_calls],
            *[on_day(day, self.train_in_a_group, name=f"group_{day}") for day in self.rules.guided_groups],
            *[on_day(day, self.send_between, name=f"mail_{day}") for day in sorted(self.rules.guided_mails)],
            on_day(30, self.finish_with_a_plan, fresh=True),
        ]

    # The steps.

    def welcome(self) -> None:
        """Welcome them, with the first items of the checklist."""
        self.email("onboarding.d1")

    def ask_how_it_goes(self) -> None:
        """Ask how it is going; those who have not finished their first day get the next item."""
        if self.given(not self.unfinished(self.rules.day_1_items), "items of day 1 are open: they get the next one"):
            self.email("onboarding.d3")
        else:
            self.pick_up_where_they_left_off()

    def celebrate_or_help(self) -> None:
        """Celebrate the first week, or help those who have not got there."""
        week = (*self.rules.day_1_items, *self.rules.day_3_items)
        if self.given(not self.unfinished(week), "items of day 3 are open: they get the next one"):
            self.email("onboarding.d7")
        else:
            self.pick_up_where_they_left_off()

    def teach(self) -> None:
        """Teach the touch's subject, or the next open item where it is known already (P7.12)."""
        template, item, words = LESSONS[self.step]
        if item and item in self.done and self.still_open:
            self.given(False, f"{item} is done already: they get the next item")
            self.pick_up_where_they_left_off()
            return
        feature = self.case.policy.words.advanced_feature if words == "advanced" else self.case.policy.words.feature
        self.email(template, feature=feature)

    def check_the_value(self) -> None:
        """Show what value they got so far."""
        self.email("onboarding.w4.value")

    def assess_the_upsell(self) -> None:
        """Have the CSM see whether a bigger plan would help them."""
        self.task("See whether a bigger plan would help them", template="onboarding.expansion")

    def invite_to_advocate(self) -> None:
        """Invite them to become advocates."""
        self.email("onboarding.w4.advocate")

    def hold_a_session(self) -> None:
        """Hold the day's session with them."""
        day = int(self.step.rpartition("_")[2])
        topic = self.rules.sessions[day]
        self.email("onboarding.session", topic=topic, day=day)
        self.ask(f"Session of day {day}: {topic}", template="onboarding.call", answers=HELD, day=day, topic=topic)

    def train_in_a_group(self) -> None:
        """Invite them to the group training."""
        day = int(self.step.rpartition("_")[2])
        self.email("onboarding.group", topic=self.rules.sessions[day], day=day)

    def send_between(self) -> None:
        """Mail what helps between the calls."""
        day = int(self.step.rpartition("_")[2])
        self.email(self.rules.guided_mails[day], feature=self.case.policy.words.feature)

    def speak_of_expansion(self) -> None:
        """Speak of expansion, where the return and the health are there."""
        self.task("Speak of expansion", template="onboarding.expansion")

    def finish_with_a_plan(self) -> None:
        """Assess the onboarding, finalise the success plan, plan the next phase."""
        self.ask("Assess the onboarding and finalise the success plan", template="onboarding.plan", answers=HELD)
        self.take_stock()

    def nudge_if_missed(self) -> None:
        """Nudge those who missed a milestone; a second miss counts as falling behind."""
        name = self.step.removeprefix("milestone_")
        if not self.given(name in str(self.reading("missed")).split(), f"{name} was reached in time"):
            return
        self.misses += 1
        if self.step.endswith("profile"):
            self.show_banner("onboarding.nudge")
        else:
            self.email("onboarding.milestone_missed")
        if self.misses == 2:
            self.raise_risk(BEHIND)

    def look_after_them(self) -> None:
        """Act on the onboarding score: celebrate, help, or come to the rescue (P7.22 to P7.24)."""
        band = str(self.reading("onboarding_band"))
        if not self.given(band != self.band, f"still {band.replace('_', ' ')}: that was acted on before"):
            return
        self.band = band
        if band == "healthy":
            self.email("onboarding.celebrate")
        elif band == "at_risk":
            self.email("onboarding.help")
            self.task("Check in with a new customer at risk", template="onboarding.check_in")
        else:
            self.ask(
                "Call a new customer in trouble today",
                template="onboarding.rescue",
                answers=("plan_agreed", "not_reached", "cancelling"),
                within_days=1,
            )
            self.task("A new customer is in trouble", template="onboarding.escalation", owner="account_executive")

    def take_stock(self) -> None:
        """See whether they are there; the others get two weeks more."""
        if self.given(self.is_complete, "the checklist is not done: two weeks more"):
            self.tell(facts.ONBOARDED)
        else:
            self.late = True

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
        """They got there late, or stalled, which at-risk recovery hears."""
        self.take_down_banner()
        if self.is_complete:
            return COMPLETED_LATE
        self.tell(facts.ONBOARDING_STALLED)
        return "stalled"

    # The rules of this playbook.

    def is_healthy(self) -> bool:
        """Only where the onboarding score is healthy."""
        return self.reading("onboarding_band") == "healthy"

    def is_ready_to_grow(self) -> bool:
        """Only from a return of twice the price and good health on."""
        roi = int(self.reading("roi_tenths", -1)) / 10
        return roi >= self.rules.expansion_roi and int(self.reading("health", -1)) >= self.rules.expansion_health

    @property
    def is_complete(self) -> bool:
        """Whether enough of the checklist is done (P7.27)."""
        return int(self.reading("completion", 0)) >= self.rules.completion_floor

    @property
    def done(self) -> list[str]:
        """Checklist items and milestones that are done."""
        return str(self.reading("done_items")).split()

    @property
    def still_open(self) -> list[str]:
        """Checklist items that are not done, in order."""
        return str(self.reading("open_items")).split()

    def unfinished(self, items: tuple[str, ...]) -> bool:
        """Whether one of these items is open."""
        return any(item in self.still_open for item in items)

    def pick_up_where_they_left_off(self) -> None:
        """Mail the next open item, a few times a month at most (P7.12)."""
        most = self.rules.drop_mails_a_month
        if self.given(self.drops < most, f"{most} such mails were sent this month"):
            self.drops += 1
            self.email("onboarding.drop")


TOUCHES = {9: "week_2_feature", 11: "week_2_practice", 13: "week_2_story"} | {
    16: "week_3_feature",
    18: "week_3_workflow",
    20: "week_3_support",
}
LESSONS = {
    "week_2_feature": ("onboarding.w2a", "features_adopted", "feature"),
    "week_2_practice": ("onboarding.w2b", "regular_reports", ""),
    "week_2_story": ("onboarding.w2c", "", ""),
    "week_3_feature": ("onboarding.w3a", "", "advanced"),
    "week_3_workflow": ("onboarding.w3b", "several_projects", ""),
    "week_3_support": ("onboarding.w3c", "", ""),
}
