"""What a CSM lead can say to a run, from the Temporal UI or the command line: done, or refused with its reason."""

from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow

from models.cases import Note
from models.facts import TASK_DONE, Fact
from workflows.steps import Step, title_of
from workflows.verbs import Question

LEAD: Final = "a CSM lead"
LONGEST_SNOOZE_DAYS: Final = 90


class Refusal(ValueError):
    """What a lead said does not fit; the text says why.

    It is told to whoever said it and kept nowhere, so it is left readable where other failures are encrypted: the
    Web UI does not decrypt it.
    """

    told_in_clear: Final = True


class Commands:
    """Updates `pause`, `resume`, `snooze`, `skip`, `answer`, `end` and the query `state`. Pause stops the clock."""

    _notes: list[Note]
    _news: list[Fact]
    _questions: dict[str, Question]

    def __init__(self) -> None:
        super().__init__()
        self._steps: tuple[Step, ...] = ()
        self._done: list[str] = []
        self._skipped: list[str] = []
        self._shift = timedelta()
        self._paused_at: datetime | None = None
        self._ended_by = ""
        self._finished = ""
        self._left_out: dict[str, str] = {}
        self._open_tasks: set[str] = set()
        self._spoken = 0
        self._taking = ""
        self._held = False
        self._current: Step | None = None
        self._next_at: datetime | None = None

    @workflow.update(
        name="pause",
        description="Stop the clock; what is left moves by as long as the pause lasts. Data: your name, optional.",
    )
    def pause(self, by: str = LEAD) -> str:
        """Stop the clock. What is left moves by as long as the pause lasts."""
        self._paused_at = workflow.now()
        if self._taking and self._held:
            return self._noted(by, f"Paused. {self._taking} waits, and goes out after the pause at the earliest.")
        return self._noted(by, "Paused." + (f" {self._taking} is under way and is finished." if self._taking else ""))

    @pause.validator
    def _pause_fits(self, by: str = LEAD) -> None:
        self._still_runs()
        if self._paused_at:
            raise Refusal("this run is paused already; resume it, or end it")

    @workflow.update(name="resume", description="Let the clock run again. Data: your name, optional.")
    def resume(self, by: str = LEAD) -> str:
        """Let the clock run again."""
        paused = workflow.now() - self._paused_at if self._paused_at else timedelta()
        self._shift += paused
        self._paused_at = None
        return self._noted(by, f"Resumed after {paused.days} days; what is left moved by as much.")

    @resume.validator
    def _resume_fits(self, by: str = LEAD) -> None:
        self._still_runs()
        if not self._paused_at:
            raise Refusal("this run is not paused")

    @workflow.update(
        name="snooze", description="Move all that is left by some days. Data: the number of days, such as 7."
    )
    def snooze(self, days: int, by: str = LEAD) -> str:
        """Move everything that is left by some days."""
        self._shift += timedelta(days=days)
        return self._noted(by, f"Snoozed by {days} days.")

    @snooze.validator
    def _snooze_fits(self, days: int, by: str = LEAD) -> None:
        self._still_runs()
        if not 0 < days <= LONGEST_SNOOZE_DAYS:
            raise Refusal(f"snooze by 1 to {LONGEST_SNOOZE_DAYS} days, not {days}")

    @workflow.update(
        name="skip", description="Leave out one step ahead. Data: the step's name in quotes, from the checklist."
    )
    def skip(self, step: str, by: str = LEAD) -> str:
        """Leave out one step that is still ahead, by its name."""
        self._skipped.append(step)
        return self._noted(by, f"Skipped {step}.")

    @skip.validator
    def _skip_fits(self, step: str, by: str = LEAD) -> None:
        self._still_runs()
        ahead = [each.name for each in self._ahead()]
        if step not in ahead:
            raise Refusal(f"{step!r} is not ahead of this run; these are: {', '.join(ahead) or 'none'}")

    @workflow.update(
        name="answer",
        description="Say how a task ended that this run waits for. Data: the step that asked, and the outcome, each in "
        'quotes, such as "call_them" and "plan_agreed".',
    )
    def answer(self, step: str, outcome: str, by: str = LEAD) -> str:
        """Say how a task ended that this run waits for; the task itself is closed with it."""
        key = self._asked_in(step)
        self._news.append(Fact(kind=TASK_DONE, at=workflow.now(), account="", object_id=key, value=outcome))
        return self._noted(by, f"Answered {step}: {outcome}.")

    @answer.validator
    def _answer_fits(self, step: str, outcome: str, by: str = LEAD) -> None:
        self._still_runs()
        waiting = sorted({key.split("/")[-2] for key in self._open_tasks})
        if not self._asked_in(step):
            raise ValueError(f"no task of {step!r} is waited for; of these there are: {', '.join(waiting) or 'none'}")
        question = self._questions.get(self._asked_in(step))
        answers = question.answers if question else (outcome,)
        if outcome not in answers:
            raise ValueError(f"{outcome!r} is not an outcome of this task; these are: {', '.join(answers)}")

    @workflow.update(
        name="end", description="End the run now; give back banner, risk signal and access. Data: your name, optional."
    )
    def end(self, by: str = LEAD) -> str:
        """End the run now. What it took away is given back: banner, risk signal, restriction."""
        self._ended_by = by or LEAD
        return self._noted(by, "Ended by hand.")

    @end.validator
    def _end_fits(self, by: str = LEAD) -> None:
        self._still_runs()

    @workflow.query(name="state")
    def state(self) -> dict[str, object]:
        """The plan with done, skipped and next (P0.12)."""
        return {
            "done": list(self._done),
            "skipped": list(self._skipped),
            "ahead": [step.name for step in self._ahead()],
            "next": self._current.name if self._current and not self._finished else "",
            "next_at": self._next_at.isoformat() if self._next_at and not self._finished else "",
            "waits_for": {
                key: self._questions[key].title for key in sorted(self._open_tasks) if key in self._questions
            },
            "paused": self._paused_at is not None,
            "outcome": self._finished,
        }

    @workflow.query(name="plan")
    def plan(self) -> list[dict[str, str]]:
        """Every step of the plan: its name, title, the stage it brings, and the condition it has, if any."""
        return [
            {
                "name": step.name,
                "title": step.title,
                "stage": step.stage,
                "only_if": title_of(step.only_if) if step.only_if else "",
            }
            for step in self._steps
        ]

    def _asked_in(self, step: str) -> str:
        """The key of the task that a step has asked for and that is open; empty if there is none."""
        # From the history alone: the code that asked may be gone by the time the answer is replayed.
        asked = sorted(key for key in self._open_tasks if key.split("/")[-2] == step)
        return asked[0] if asked else ""

    def _ahead(self) -> list[Step]:
        gone = {*self._done, *self._skipped}
        return [step for step in self._steps if step.name not in gone]

    def _still_runs(self) -> None:
        if self._finished or self._ended_by:
            raise Refusal("this run has ended")

    def _noted(self, by: str, text: str) -> str:
        self._notes.append(Note(at=workflow.now(), by=by or LEAD, text=text))
        self._spoken += 1
        return text
