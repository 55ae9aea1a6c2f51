"""What onboarding does with a customer, day by day: alone with our mails, or with a person of ours (ledger P7)."""

from models import facts, onboarding
from models.policy import Onboarding as Rules
from models.policy import Variant
from workflows.playbook import Playbook

HELD = ("held", "moved", "no_show")


class Touches(Playbook):
    """The steps of the onboarding variants; `Onboarding` says on which days."""

    rules: Rules
    variant: Variant
    drops = 0
    congratulated = late = False

    # Self-service.

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
            self.congratulated = True
            self.email("onboarding.d7")
        else:
            self.pick_up_where_they_left_off()

    def teach(self) -> None:
        """Teach the day's subject, or the next open item where it is known already (P7.12)."""
        subject = self.rules.lessons[self.day]
        lesson, words = onboarding.LESSONS[subject], self.case.policy.words
        if self.given(lesson.item not in self.done or not self.still_open, f"{lesson.item} is done: the next item"):
            self.email(lesson.template, feature=words.advanced_feature if subject == "advanced" else words.feature)
        else:
            self.pick_up_where_they_left_off()

    def check_the_value(self) -> None:
        """Show what value they got so far."""
        self.email("onboarding.w4.value")

    def assess_the_upsell(self) -> None:
        """Have the CSM see whether a bigger plan would help them."""
        self.task("See whether a bigger plan would help them", template="onboarding.expansion", favour="upsell")

    def invite_to_advocate(self) -> None:
        """Invite them to become advocates."""
        self.email("onboarding.w4.advocate", favour="advocacy")

    def pick_up_where_they_left_off(self) -> None:
        """Mail the next open item, a few times a month at most (P7.12)."""
        most = self.rules.drop_mails_a_month
        if self.given(self.drops < most, f"{most} such mails were sent this month"):
            self.drops += 1
            self.email("onboarding.drop")

    # Guided and white-glove.

    def hold_a_session(self) -> None:
        """Hold the day's session with them."""
        self.invite(self.day)
        topic = self.rules.sessions[self.day]
        title = f"Session of day {self.day}: {topic}"
        self.ask(title, template="onboarding.call", answers=HELD, day=self.day, topic=topic)

    def train_in_a_group(self) -> None:
        """Invite them to the group training."""
        self.email("onboarding.group", topic=self.rules.sessions[self.day], day=self.day)

    def send_between(self) -> None:
        """Mail what they can do on their own between the calls."""
        self.email(self.rules.guided_mails[self.day], topic=self.rules.sessions[self.day], day=self.day)

    def leave_them_the_weekend(self) -> None:
        """Leave them to go on at their own pace, with support at hand."""
        self.email("onboarding.weekend")

    def speak_of_expansion(self) -> None:
        """Speak of expansion, where the return and the health are there."""
        self.task("Speak of expansion", template="onboarding.expansion", favour="upsell")

    def assess_the_onboarding(self) -> None:
        """Assess the onboarding against the checklist and the goals; white-glove customers are there."""
        if self.given(self.variant == "white_glove", "guided: assessed without a call"):
            self.invite(28)
        self.ask("Assess the onboarding", template="onboarding.assessment", answers=("complete", "extended"))

    def finish_with_a_plan(self) -> None:
        """Finalise the success plan with them, and plan the next phase."""
        self.invite(30)
        self.ask(
            "Finalise the success plan and plan the next phase",
            template="onboarding.plan",
            answers=("final", "moved", "no_show"),
            then=self.hear_of_the_plan,
        )
        self.late = not self.given(self.is_complete, "the checklist is not done: two weeks more")

    def hear_of_the_plan(self, outcome: str) -> None:
        """With the plan final and the checklist done the next phase begins."""
        if not self.given(outcome == "final", "the success plan is not final yet"):
            return
        if self.given(not self.late, "the checklist was not done by day 30: looked at once more"):
            self.tell(facts.ONBOARDED)

    def invite(self, day: int) -> None:
        """Invite them to the day's session."""
        self.email("onboarding.session", topic=self.rules.sessions[day], day=day)

    # What they have done.

    def unfinished(self, items: tuple[str, ...]) -> bool:
        """Whether one of these items is open."""
        return any(item in self.still_open for item in items)

    @property
    def day(self) -> int:
        """The day that the name of the step being worked out ends with."""
        return int(self.step.rpartition("_")[2])

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
