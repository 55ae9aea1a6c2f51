"""What a playbook would do for an account, before it runs: the real code, rehearsed; letters rendered, nothing sent."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from activities import letters
from activities.merge_fields import Fields, day_in_words, zone_of
from models.cases import Banner, Batch, Case, Charge, Effect, Email, Offer, Outcome, Reading, Result, Task
from models.declines import Decline
from models.picture import Person, Picture
from models.policy import Policy
from workers.preview_words import CHANNEL, FIELDS, HEALTH_IN, READINGS, ROLES, WHO
from workers.rehearsal import Moment, Rehearsed, carried_out, rehearse
from workflows.playbook import Playbook
from workflows.steps import name_of

SAMPLE: Final = "sample"
NOT: Final = "Not done: "
"""How the history tells of a branch that was not taken."""
ZOE: Final = Person(name="Zoe Miller", email="zoe@example.com", timezone="UTC")
AHEAD: Final = timedelta(days=120)
"""How far ahead the sample's renewal or expiry is."""


@dataclass(frozen=True)
class About:
    """Whom the preview is about. Without an account of the database it is a sample one."""

    account: str = SAMPLE
    person: Person = ZOE
    segment: str = ""
    owner: str = "ana"
    mrr: int = 2_900
    company: str = "Acme Ltd"
    readings: Mapping[str, Reading] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """One thing the run does or leaves undone; then `why_not` says why. `html` is a mail as it will look."""

    day: float
    at: datetime
    step: str
    title: str
    who: str = ""
    channel: str = ""
    what: str = ""
    template: str = ""
    waits: str = ""
    why_not: str = ""
    html: str = ""
    text: str = ""


@dataclass(frozen=True)
class Preview:
    """A playbook's calendar for one account, and the ways it may end before."""

    playbook: str
    about: str
    lines: tuple[Line, ...]
    ends_on: Mapping[str, tuple[str, ...]]
    outcome: str
    zone: str

    def as_json(self) -> dict[str, Any]:
        """For scripts: everything but the letters' bodies."""
        return {
            "playbook": self.playbook,
            "about": self.about,
            "zone": self.zone,
            "outcome": self.outcome,
            "ends_on": {reason: list(outcomes) for reason, outcomes in self.ends_on.items()},
            "lines": [
                {
                    **{key: value for key, value in asdict(line).items() if key not in ("html", "text")},
                    "at": line.at.isoformat(),
                }
                for line in self.lines
            ],
        }


def sample_case(
    playbook: type[Playbook], policy: Policy, about: About, start: datetime, *, value: str = "", trigger: str = ""
) -> Case:
    """The case that `trigger` would open, or the first fact of the playbook which is not refused."""
    name = name_of(playbook)
    case = Case(
        id=f"{name}/{about.account}",
        playbook=name,
        account=about.account,
        subject="sample",
        at_stake=about.mrr,
        owner=about.owner,
        segment=about.segment,
        mrr=about.mrr,
        anchor=(start + AHEAD).replace(hour=0, minute=0, second=0, microsecond=0),
        # What it starts on, where that has to be said: the first severity, band or rule.
        value=value or next((each for start in playbook.starts_on for each in start.values), ""),
        policy=policy,
    )
    facts = [each.fact for each in playbook.starts_on if trigger in ("", each.fact)]
    cases = [case.model_copy(update={"trigger": fact}) for fact in facts]
    return next((each for each in cases if not playbook.refuses(each)), cases[0])


def rehearsed(
    playbook: type[Playbook],
    case: Case,
    about: About,
    start: datetime,
    *,
    decline: str = "",
    patches: Iterable[str] | None = None,
) -> tuple[Rehearsed, Decline]:
    """The run, with an outside world that takes everything but charges, which are refused with `decline`."""
    refusal = Decline(code=decline or "insufficient_funds", decline_code=decline or "insufficient_funds")
    readings: dict[str, Reading] = {
        **READINGS,
        "health": HEALTH_IN.get(case.value, READINGS["health"]),
        "decline": refusal.kind,
        "decline_code": refusal.name,
        "invoices": case.subject,
        "segment": case.segment,
        "owner": case.owner,
        "mrr": case.mrr,
        "severity": case.value,
        **about.readings,
    }

    def answer(batch: Batch) -> Outcome:
        outcome = carried_out(batch, readings)
        refused = {each.key: _charged(each, refusal) for each in batch.effects if isinstance(each, Charge)}
        return outcome.model_copy(update={"results": {**outcome.results, **refused}})

    return rehearse(playbook, case, start=start, answer=answer, patches=patches), refusal


def preview(
    playbook: type[Playbook],
    policy: Policy,
    *,
    about: About | None = None,
    start: datetime | None = None,
    value: str = "",
    trigger: str = "",
    decline: str = "",
) -> Preview:
    """Rehearse a playbook and read its run as a calendar.

    Raises:
        RehearsalError: the playbook fails.
        letters.LetterError: a mail lacks a merge field, or a template is missing.
    """
    whom = about or About()
    began = start or datetime.now(UTC)
    case = sample_case(playbook, policy, whom, began, value=value, trigger=trigger)
    run, refusal = rehearsed(playbook, case, whom, began, decline=decline)
    reader = _Reader(policy, whom, refusal, began)
    lines = tuple(line for moment in run.moments for line in reader.lines(moment, run))
    ends = {reason: tuple(outcomes) for reason, outcomes in run.endings.items()}
    described = "a sample account" if whom.account == SAMPLE else whom.account
    if whom.segment:
        described += f" ({whom.segment})"
    return Preview(
        name_of(playbook), described, lines, ends, run.ending.outcome if run.ending else "", str(reader.zone)
    )


def _charged(charge: Charge, refusal: Decline) -> Result:
    if charge.new_card_only or refusal.why_not_retried:
        return Result(state="dropped", reason=refusal.why_not_retried)
    return Result(state="refused", reason=refusal.name)


@dataclass(frozen=True)
class _Terms:
    """An offer of the preview; no row of it is written anywhere."""

    key: str
    pct: int
    months: int
    expires_at: datetime


class _Reader:
    """Turns a rehearsed run into lines for people."""

    def __init__(self, policy: Policy, about: About, refusal: Decline, began: datetime) -> None:
        self._policy = policy
        self._about = about
        self._began = began
        self.zone: ZoneInfo = zone_of(about.person.timezone)
        self._fields = Fields("https://pay.example.com", "a secret of the preview")
        self._picture = Picture(
            fields={**FIELDS, "account_name": about.company, "decline": refusal.kind},
            people={"billing": about.person},
        )
        self._offers: dict[str, _Terms] = {}

    def lines(self, moment: Moment, run: Rehearsed) -> Iterable[Line]:
        """What one batch comes to: its effects, or why there are none, branches not taken, and what the end brings."""
        renewal = (self._began + AHEAD).date()
        dated: dict[str, str | int] = {
            "renewal_date": day_in_words(renewal),
            "days_left": (renewal - moment.at.date()).days,
        }
        self._picture = replace(self._picture, fields={**self._picture.fields, **dated})
        title = next((step.title for step in run.steps if step.name == moment.batch.step), moment.batch.title)
        line = Line(
            day=round((moment.at - self._began) / timedelta(days=1), 2),
            at=moment.at.astimezone(self.zone),
            step=moment.batch.step,
            title=title,
        )
        undone = [moment.left_out] if moment.left_out else []
        undone += [note.text.removeprefix(NOT) for note in moment.batch.notes if note.text.startswith(NOT)]
        for effect in moment.batch.effects:
            yield self._line(line, effect, moment)
        if not moment.batch.effects and not undone and not moment.is_a_look:
            undone = ["nothing to do"]
        for reason in undone:
            yield replace(line, why_not=reason)
        if closing := moment.batch.closing:
            end = replace(line, step="ending", title=f"The end: {closing.outcome}")
            for effect in closing.effects:
                yield self._line(end, effect, moment)

    def _line(self, line: Line, effect: Effect, moment: Moment) -> Line:
        result = moment.outcome.results.get(effect.key, Result(state="done"))
        if result.state == "dropped":
            return replace(line, what=effect.title, why_not=result.reason)
        if isinstance(effect, Offer):
            self._offers[effect.key] = _Terms(effect.key, effect.pct, effect.months, effect.expires)
        if isinstance(effect, Email):
            letter = self._letter(effect, moment.batch, self._picture)
            return replace(
                line,
                who=ROLES.get(effect.to, effect.to),
                channel="e-mail",
                what=letter.subject,
                template=self._template(effect),
                html=letter.html,
                text=letter.text,
            )
        if isinstance(effect, Banner) and effect.template:
            letter = self._letter(effect, moment.batch, self._picture)
            return replace(
                line, who="users", channel="in-app", what=letter.subject, template=effect.template, text=letter.text
            )
        if isinstance(effect, Task):
            return self._task(line, effect, moment.batch)
        return replace(line, who=WHO.get(effect.kind, ""), channel=CHANNEL.get(effect.kind, ""), what=effect.title)

    def _task(self, line: Line, effect: Task, batch: Batch) -> Line:
        text = self._letter(effect, batch, self._picture).text if effect.template else ""
        waits = ""
        if effect.deadline:
            waits = f"waits for {' | '.join(effect.answers)} until {effect.deadline.astimezone(self.zone):%a %d %b}"
        owner = effect.owner or self._about.owner or self._policy.people.csm_lead
        return replace(
            line, who=owner, channel="task", what=effect.title, template=effect.template, waits=waits, text=text
        )

    def _template(self, effect: Email) -> str:
        return effect.by_decline.get(str(self._picture.fields["decline"]), effect.template)

    def _letter(self, effect: Email | Banner | Task, batch: Batch, picture: Picture) -> letters.Letter:
        offer = self._offers.get(effect.offer) if isinstance(effect, Email) else None
        fields = self._fields.of(batch, picture, self._policy, effect, offer=offer)
        template = self._template(effect) if isinstance(effect, Email) else effect.template
        return letters.render(template, fields, locale=self._about.person.locale or "en")
