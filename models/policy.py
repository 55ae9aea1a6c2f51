"""Every threshold, day and cap, in one frozen tree; a TOML file overrides it (P0.15).

[dunning]
restrict_day = 10

[segment.enterprise.dunning]
suspend_day = 45
"""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError

from models.at_risk import AtRisk, ChurnRisk
from models.crm import BadCrmSettings, CrmSettings
from models.frozen import Frozen
from models.segments import Books, Segments
from models.zones import zone_named


class PolicyError(ValueError):
    """The policy file cannot be used; the message says which key and why."""


class Dunning(Frozen):
    """Payment failure (P1). Days count from the failure; day 0 is the day itself."""

    mode: Literal["own", "observe"] = "own"
    """`own`: we retry, and the provider's retries are switched off. `observe`: the provider retries, we only speak."""
    retry_days: tuple[int, ...] = (0, 3, 7)
    day0_retry_delay_h: int = Field(1, ge=0, le=23)
    email_days: tuple[int, int, int, int, int] = (0, 3, 7, 10, 14)
    """The five mails: notice, reminder, urgent, last call, final notice (P1.3 to P1.7)."""
    call_day: int = 8
    """The first day that is more than seven days late: the CSM is asked to call (P1.15)."""
    restrict_day: int = 14
    suspend_day: int = 30
    hard_cancel_day: int | None = 30
    currencies: tuple[str, ...] = ()
    """Only these currencies are dunned; empty means all (P1.1)."""
    min_amount: int = Field(0, ge=0)
    """Invoices below this (minor unit) are left alone (P1.1)."""

    def problems(self) -> list[str]:
        """What does not hold together. Asked of a policy file, not of a payload: sleeping runs keep their old rules."""
        found = []
        days = self.retry_days
        if not 3 <= len(days) <= 5:
            found.append(f"retry_days {list(days)}: a soft decline gets 3 to 5 attempts (P1.11)")
        elif list(days) != sorted(set(days)) or days[0] < 0:
            found.append(f"retry_days {list(days)}: must rise, without repeats, from day 0 on")
        elif not 7 <= days[-1] <= 10:
            found.append(f"retry_days {list(days)}: the last attempt belongs on day 7 to 10 (P1.11)")
        elif not days[-1] <= self.restrict_day < self.suspend_day:
            found.append(
                f"restrict_day {self.restrict_day} must come after the last retry (day {days[-1]}) "
                f"and before suspend_day {self.suspend_day} (P1.16)"
            )
        if list(self.email_days) != sorted(set(self.email_days)):
            found.append(f"email_days {list(self.email_days)}: must rise, without repeats")
        if self.hard_cancel_day is not None and self.hard_cancel_day < self.suspend_day:
            found.append(f"hard_cancel_day {self.hard_cancel_day} comes before suspend_day {self.suspend_day}")
        return found


class Usage(Frozen):
    """Usage decline (P3). Metric names are the company's own (X45)."""

    metric: str = "activity"
    """What is measured: the sum of it over the last `window_days` against the window before."""
    login_metric: str = "login"
    feature_prefix: str = "feature:"
    """Metrics that begin so are features; the one that fell most is named in the mail (P3.8)."""
    features: dict[str, str] = {}
    """What customers call a feature, by metric name without the prefix."""
    window_days: int = Field(14, ge=1, le=90)
    moderate_pct: int = Field(30, ge=1, le=99)
    """A fall of more than this starts a run (P3.1)."""
    severe_pct: int = Field(50, ge=1, le=100)
    """A fall of this or more is severe; so are logins below this share of the previous 30 days (P3.2)."""
    min_baseline: int = Field(10, ge=1)
    """The window before has at least so many events, else nothing is concluded (P3.4)."""
    min_tenure_days: int = Field(28, ge=0)
    call_scope: Literal["high_value", "all", "nobody"] = "high_value"
    """Who is called on day 7 (P3.9, X8)."""
    offer_days: tuple[int, int] = (14, 22)
    """The day of the training, and where health is low the discount; the day of the executive's offer (P3.11, P3.13).
    The manager calls on the day after the first."""
    last_look_days: int = Field(7, ge=1)
    """The run ends so many days after the executive's offer, so that an answer to an offer still counts."""
    discount_health: int = Field(60, ge=0, le=100)
    """Health below this gets a discount beside the training on day 14 (P3.11)."""
    few_logins: int = 5
    """Fewer logins than this in 30 days is a risk signal, no run (P3.3)."""
    report_metric: str = "report"
    """What an account that gets value does at least every 30 days (P3.3)."""
    names: dict[str, str] = {}
    """What senders call an event or metric, and which metric of ours it counts for (I6)."""
    facts: dict[str, str] = {}
    """Names of tracked events that are facts, such as "Signed Up" = "user.signed_up", and not use (I6, T1.13)."""

    def problems(self) -> list[str]:
        """What does not hold together."""
        found = []
        if self.moderate_pct > self.severe_pct:
            found.append(f"moderate_pct {self.moderate_pct} is above severe_pct {self.severe_pct}")
        training, executive = self.offer_days
        if not 8 < training < executive - 1:
            found.append(f"offer_days {[training, executive]}: they follow day 8, with a day between for the manager")
        return found


class Renewal(Frozen):
    """Renewal timeline (P6). Days count back from the renewal date."""

    prepare_day: int = 120
    deal_day: int = 90
    review_day: int = 60
    pricing_day: int = 45
    negotiate_day: int = 30
    final_terms_day: int = 14
    contract_day: int = 7
    escalate_days: tuple[int, int] = (3, 0)
    """Unsigned: to the CSM lead, then to an executive (P6.10)."""
    grace_days: int = Field(30, ge=1)
    """Unsigned so long after the renewal date, it is lost (P6.17)."""
    risk_health: int = Field(70, ge=0, le=100)
    """Health below this adds the risk overlay (P6.1)."""

    def problems(self) -> list[str]:
        """What does not hold together."""
        days = [
            self.prepare_day,
            self.deal_day,
            self.review_day,
            self.pricing_day,
            self.negotiate_day,
            self.final_terms_day,
            self.contract_day,
            *self.escalate_days,
        ]
        falling = days == sorted(set(days), reverse=True) and days[-1] >= 0
        return [] if falling else [f"the milestones {days} must fall, without repeats, to day 0 or before"]


Variant = Literal["self_service", "guided", "white_glove"]
Subject = Literal["feature", "practice", "story", "advanced", "workflow", "support"]


class Onboarding(Frozen):
    """Onboarding (P7)."""

    variant: dict[str, Variant] = {"enterprise": "white_glove", "mid": "guided", "starter": "self_service"}
    """By segment; any other segment is self-service (P7.1)."""
    pattern: Literal["product_first", "guided_setup", "value_first"] = "guided_setup"
    """How the product itself receives a new user; told to the product, no code depends on it (P7.4)."""
    day_1_items: tuple[str, ...] = ("signed_up", "email_verified", "wizard_started", "connected", "first_project")
    day_3_items: tuple[str, ...] = ("first_report", "attribution", "dashboard", "resources")
    day_7_items: tuple[str, ...] = ("several_projects", "regular_reports", "features_adopted", "value_realised")
    item_names: dict[str, str] = {
        "signed_up": "sign up",
        "email_verified": "confirm your e-mail address",
        "wizard_started": "start the setup wizard",
        "connected": "connect your first source",
        "first_project": "create your first project",
        "first_report": "make your first report",
        "attribution": "set up attribution",
        "dashboard": "look around the dashboard",
        "resources": "find the help pages",
        "several_projects": "create a second project",
        "regular_reports": "make reports regularly",
        "features_adopted": "use the main features",
        "value_realised": "see your first results",
        "profile": "fill in your profile",
        "first_action": "create your first project",
        "first_value": "get your first result",
        "streak_3": "use it on three days in a row",
    }
    """What customers are asked for with an item or milestone; without it, its underscores become spaces (X45)."""
    project_metric: str = "project"
    ticket_metric: str = "ticket"
    """Metrics behind the onboarding score, beside `usage.report_metric` and the features (H2.3)."""
    core_features: int = Field(5, ge=1)
    """How many features an account could use (H2.3)."""
    milestone_hours: dict[str, float] = {
        "created": 0,
        "profile": 5 / 60,
        "first_action": 24,
        "first_value": 72,
        "streak_3": 168,
    }
    """When each milestone is due, hours after the account was created (P7.19)."""
    milestone_lift: dict[str, int] = {
        "created": 0,
        "profile": 8,
        "first_action": 15,
        "first_value": 25,
        "streak_3": 35,
    }
    """Percent more accounts still there on day 30, kept with each milestone for reports (P7.20)."""
    nudge_by_mail: dict[Variant, tuple[str, ...]] = {"self_service": ("first_value",)}
    """Missed milestones that are nudged by mail; the others in the product, where no mail of the day is in the way."""
    drop_mails_a_month: int = Field(3, ge=0)
    """Most "pick up where you left off" mails in the month (P7.12)."""
    lessons: dict[int, Subject] = {
        9: "feature",
        11: "practice",
        13: "story",
        16: "advanced",
        18: "workflow",
        20: "support",
    }
    """Self-service: what weeks 2 and 3 teach, by day, the first being day 1 (P7.9, P7.10)."""
    week_4_days: tuple[int, int, int] = (23, 25, 27)
    """Self-service: value check, upsell assessment, advocacy, by day, the first being day 1 (P7.11)."""
    sessions: dict[int, str] = {
        1: "welcome and expectations",
        2: "configuration and integrations",
        3: "first import",
        4: "training in scoring",
        5: "a walk through the analytics",
        8: "advanced features",
        10: "tuning the integrations",
        12: "a workflow of your own",
        14: "performance review",
        18: "a deep look at the analytics",
        25: "celebrating the milestone",
        28: "completion assessment",
        30: "success plan and next phase",
    }
    """White-glove sessions by day after the start (P7.13 to P7.16)."""
    weekend_day: int = 6
    """White-glove and guided: no session, support is there (P7.13)."""
    expansion_day: int = 21
    """White-glove and guided: the talk about growing, where it fits (P7.15, P7.17)."""
    guided_calls: tuple[int, ...] = (1, 14)
    guided_groups: tuple[int, ...] = (4, 5, 8, 18)
    guided_mails: dict[int, str] = {
        2: "onboarding.self_guided",
        3: "onboarding.self_guided",
        10: "onboarding.self_guided",
        12: "onboarding.self_guided",
        25: "onboarding.w4.value",
    }
    """Guided: calls, group trainings and mails by day, each about that day's topic; the call of day 30 ends it
    (P7.18)."""
    score_days: tuple[int, ...] = (7, 13, 20, 27)
    """Days after the start on which the onboarding score is acted on; none may have a mail of its own (P7.22)."""
    completion_floor: int = Field(70, ge=0, le=100)
    """Checklist share from which day 30 counts as activated (X27)."""
    completion_target: int = Field(90, ge=0, le=100)
    """What we aim at, in percent of accounts (P7.25)."""
    first_value_hours: dict[str, float] = {"starter": 10 / 60, "mid": 24, "enterprise": 24}
    """Hours to first value by segment (X26)."""
    first_value_limit_hours: float = 72
    """The hard limit, for whatever segment (X26)."""
    goals: dict[str, float] = {
        "first_value_in_a_day_pct": 95,
        "checklist_pct": 90,
        "adoption_pct": 80,
        "adoption_target_pct": 85,
        "roi": 2,
        "satisfaction": 4.5,
        "satisfaction_target": 4.7,
        "first_value_minutes": 10,
        "completion_pct": 70,
        "first_project_pct": 85,
        "first_report_pct": 80,
        "first_win_hours": 48,
    }
    """What the phase should reach over all accounts, for reports (P7.25, P7.26)."""
    healthy: int = 80
    at_risk: int = 60
    """Bands of the onboarding score: healthy from, at risk from, below is critical (H2.4)."""
    rescale: bool = False
    """Divide the onboarding score by 0.85, its best possible value (H2.2, X16)."""
    expansion_roi: float = 2
    expansion_health: int = 75
    """Day 21 speaks of expansion only from this return and health on (P7.17)."""
    late_day: int = Field(45, gt=30)
    """Not done by day 30, it is extended to this day (P7.27)."""

    def problems(self) -> list[str]:
        """What does not hold together."""
        found = []
        if not self.at_risk < self.healthy:
            found.append(f"at_risk {self.at_risk} must be below healthy {self.healthy}")
        for day in (*self.guided_calls, *self.guided_groups, *self.guided_mails, 28, 30):
            if day not in self.sessions:
                found.append(f"sessions names no topic for day {day}")
        for variant, days in self.mail_days().items():
            twice = sorted({day for day in days if days.count(day) > 1})
            found += [f"a {variant} customer would get two mails on day {day} after the start" for day in twice]
        return found

    def mail_days(self) -> dict[Variant, list[int]]:
        """Whole days after the start on which a customer is written to, by variant; a new one gets one mail a day."""
        value, _, advocate = self.week_4_days
        people = [0, self.weekend_day, 30, *self.score_days]
        return {
            "self_service": [0, 2, 6, value - 1, advocate - 1, *(day - 1 for day in self.lessons), *self.score_days],
            "guided": [*people, *self.guided_calls, *self.guided_groups, *self.guided_mails],
            "white_glove": [*people, *(day for day in self.sessions if day != 30)],
        }


class WinBack(Frozen):
    """Win-back (P20)."""

    recent_days: int = Field(90, ge=1)
    """Churned fewer days ago than this is recent; exactly so many counts as old (P20.6)."""
    old_high_value: Literal["segment1", "segment3"] = "segment3"
    """Where a high-value account goes that left longer ago (P20.6, X42)."""
    require_churned: bool = True
    """Only accounts that have left are won back; health alone never starts it, so this cannot be false (P20.2, X15)."""
    outreach_day: int = 3
    offer_day: int = 10
    last_day: int = 30
    mail_days: tuple[int, int, int, int] = (7, 30, 60, 90)
    update_days: tuple[int, ...] = (180, 270, 360)
    """Segment 3's four mails, then quarterly updates for a year (P20.8)."""
    expected_pct: dict[str, int] = {"segment1": 25, "segment2": 15, "segment3": 5}
    """Expected share won back, for reports (P20.3 to P20.5)."""
    exec_pct: int = Field(30, ge=0, le=49)
    """Above `offers.max_pct` an executive is asked first (O8)."""
    csm_pct: int = Field(20, ge=0, le=49)

    def problems(self) -> list[str]:
        """What does not hold together."""
        if not self.outreach_day < self.offer_day < self.last_day:
            return [f"outreach_day {self.outreach_day}, offer_day {self.offer_day}, last_day {self.last_day} must rise"]
        if not self.require_churned:
            return ["require_churned false: the mails speak of a subscription that has ended (P20.2)"]
        days = [*self.mail_days, *self.update_days]
        return [] if days == sorted(set(days)) else ["mail_days and update_days must rise, without repeats"]


class CardExpiry(Frozen):
    """Cards about to expire (P2)."""

    days: tuple[int, int, int] = (30, 15, 7)
    """Days before the card's last day (P2.1)."""

    def problems(self) -> list[str]:
        """What does not hold together."""
        falling = list(self.days) == sorted(set(self.days), reverse=True) and self.days[-1] > 0
        return [] if falling else [f"days {list(self.days)} must fall, without repeats, and end before the expiry"]


class Offers(Frozen):
    """What may be offered to keep a customer (O2, O3, O7)."""

    save_pct: int = 20
    long_tenure_pct: int = 25
    """For accounts older than a year (O2)."""
    long_tenure_days: int = 365
    months: int = Field(3, ge=2, le=3)
    max_pct: int = 30
    """Above this an offer is dropped unless an executive approved it (O2, O8)."""
    pause_months: int = Field(3, ge=1, le=3)
    valid_days: int = Field(14, ge=1)
    every_days: int = Field(365, ge=1)
    """One save discount for an account in so many days (O7)."""
    approval_segments: tuple[str, ...] = ("enterprise",)
    """Discounts here want the CSM lead's approval (O6)."""

    def problems(self) -> list[str]:
        """What does not hold together (O2: half off is refused on any path)."""
        found = []
        for name in ("save_pct", "long_tenure_pct"):
            if getattr(self, name) > self.max_pct:
                found.append(f"{name} {getattr(self, name)} is above max_pct {self.max_pct}")
        if self.max_pct >= 50:
            found.append(f"max_pct {self.max_pct}: 50 % or more is never offered (O2)")
        return found


class Links(Frozen):
    """Pages of the company's own that messages lead to."""

    app: str = "https://app.example.com"
    billing: str = "https://app.example.com/billing"
    """Where a customer changes the card on file: a page of the product's, or Stripe's customer portal (P2.2)."""
    article: str = "https://help.example.com/quick-wins"
    tutorial: str = "https://help.example.com/tutorials"
    booking: str = "https://book.example.com/success"
    wizard: str = "https://app.example.com/setup"
    help: str = "https://help.example.com"
    story: str = "https://example.com/stories"
    reactivate: str = "https://app.example.com/reactivate"
    """Where somebody who left begins again."""


class Words(Frozen):
    """Phrases that change without a release."""

    feature: str = "saved reports"
    advanced_feature: str = "automations"
    story: str = "A team of five saves a day a week with it."
    value_metric: str = "reports"
    """What `usage.report_metric` counts, as customers call it."""
    updates: str = "faster reports, a new dashboard and simpler sharing"


class Starts(Frozen):
    """What guards against too many runs at once."""

    cooldown_days: int = Field(30, ge=0)
    """A playbook rests so long for an account after a run (P0.6)."""
    oldest_fact_days: int = Field(30, ge=1)
    """A fact older than this starts nothing any more: loading history is no trigger."""
    per_hour: int = Field(500, ge=1)
    """Runs that one scan starts in an hour; the rest follow later."""


class ScanTime(Frozen):
    """When a scan runs: once a day, at this time UTC. Business days are UTC, so no zone and no change of clocks."""

    enabled: bool = True
    hour: int = Field(5, ge=0, le=23)
    minute: int = Field(0, ge=0, le=59)


class Scans(Frozen):
    """The daily scans over all accounts (T2.2, T2.3). They are the same for every segment."""

    books: ScanTime = ScanTime(hour=4, minute=50)
    """Before the others, which ask for the segment."""
    usage: ScanTime = ScanTime(minute=10)
    renewals: ScanTime = ScanTime(minute=30)
    cards: ScanTime = ScanTime(minute=50)
    health: ScanTime = ScanTime(hour=6, minute=10)
    rules: ScanTime = ScanTime(hour=6, minute=40)
    reports: ScanTime = ScanTime(hour=7)
    window: int = Field(10_000, ge=1, le=1_000_000)
    """Accounts that one activity looks at; it goes through them in smaller pages."""
    jitter_minutes: int = Field(5, ge=0, le=60)
    """A scan starts up to so much later, so that not everybody's scans hit a shared server in the same second."""


class Health(Frozen):
    """Health scores (H0)."""

    model: Literal["h1", "h2", "h3", "h4", "h5"] = "h1"
    """The scorecard that speaks for an account; self-service accounts have h2 in their first 30 days (H0.2)."""


class People(Frozen):
    """Who is asked when an account has nobody, and to whom things are escalated."""

    csm_lead: str = "csm-lead"
    manager: str = "cs-manager"
    executive: str = "executive"
    executive_name: str = "Our head of customer success"
    account_executive: str = "account-executive"
    task_timeout_days: int = Field(5, ge=1)
    """A task that a run waits for is escalated after so many days, unless it has a deadline of its own (P0.7)."""
    high_value_mrr: int = 200_000
    """Monthly revenue (minor unit) above which an account is high-value (P0.16)."""


class Company(Frozen):
    """What mails say of us."""

    name: str = "Holdfast Demo Inc."
    product: str = "Holdfast Demo"
    postal_address: str = "1 Example Street, Example City"
    support_email: str = "support@example.com"
    from_email: str = "billing@example.com"


class Hours(Frozen):
    """When customers are written to (P0.17): in the zone of the contact, else the account's, else the company's."""

    enabled: bool = True
    opens: str = Field("09:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    closes: str = Field("17:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """Exclusive. Not after `opens`, it is on the next day; the same as `opens`, a whole day later."""
    days: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Working days, Monday is 0."""
    zone: str = "UTC"
    """The company's own."""
    country: str = Field("", pattern=r"^([A-Z]{2})?$")
    """Whose public holidays are kept where the zone lies in no one country; two letters, empty for none."""
    spread_minutes: int = Field(60, ge=0, le=240)
    """What waited for the morning goes out over so many minutes."""

    def problems(self) -> list[str]:
        """What does not hold together."""
        found = []
        if not self.days or any(not 0 <= day <= 6 for day in self.days):
            found.append(f"days {list(self.days)}: some of 0 (Monday) to 6 (Sunday)")
        if not zone_named(self.zone):
            found.append(f"zone {self.zone!r} is no IANA time zone, such as Europe/Berlin")
        return found


class Caps(Frozen):
    """How much somebody may hear of us (T4.2). What is required and what belongs to the service is never held back."""

    contact_day: int = Field(1, ge=1)
    """Marketing mails for one person a day."""
    contact_week: int = Field(3, ge=1)
    """Marketing mails for one person in any seven days."""
    account_day: int = Field(2, ge=1)
    """Contacts with an account that no law asks for, on all channels, a day."""
    account_week: int = Field(6, ge=1)
    month: dict[str, int] = {
        "onboarding.drop": 3,
        "alert.update": 2,
        "alert.limit": 1,
        "atrisk.education": 1,
    }
    """Most of one message for an account in 30 days, by template (T4.1)."""
    wait_days: int = Field(3, ge=0)
    """A mail beyond a cap waits so many days for room; after that it would be stale, and is dropped."""


class Floor(Frozen):
    """Which of several runs of an account speaks (P0.8)."""

    floor_days: int = Field(7, ge=0)
    """A run that is not urgent holds the floor for so many days after it spoke."""
    wait_days: int = Field(7, ge=0)
    """How long a run that waits for the floor waits at most."""


class Policy(Frozen):
    """The whole tree. What a run needs of it is frozen into its input at the start."""

    version: str = "default"
    day_one_is_trigger_day: bool = True
    """In playbooks that count from day 1, day 1 is the day of the trigger (P0.2, X1)."""
    dunning: Dunning = Dunning()
    usage: Usage = Usage()
    renewal: Renewal = Renewal()
    onboarding: Onboarding = Onboarding()
    winback: WinBack = WinBack()
    card_expiry: CardExpiry = CardExpiry()
    offers: Offers = Offers()
    starts: Starts = Starts()
    hours: Hours = Hours()
    caps: Caps = Caps()
    precedence: Floor = Floor()
    scans: Scans = Scans()
    segments: Segments = Segments()
    books: Books = Books()
    health: Health = Health()
    at_risk: AtRisk = AtRisk()
    churn_risk: ChurnRisk = ChurnRisk()
    people: People = People()
    company: Company = Company()
    links: Links = Links()
    words: Words = Words()

    def problems(self) -> list[str]:
        """What does not hold together, section by section."""
        found = []
        for name in type(self).model_fields:
            section = getattr(self, name)
            if hasattr(section, "problems"):
                found += [f"{name}: {problem}" for problem in section.problems()]
        return found


FOR_ALL: Final = ("scans", "segments", "books")
"""Sections that no segment has for itself."""


class PolicyFile:
    """A policy with overrides by segment, and the map of a CRM outside (`crm`), which no run is frozen with."""

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        data = dict(data or {})
        try:
            self.crm = CrmSettings.validated(data.pop("crm", {}))
        except BadCrmSettings as error:
            raise PolicyError(f"policy: {error}") from None
        self._segments: dict[str, Any] = data.pop("segment", {})
        if not isinstance(self._segments, dict):
            raise PolicyError("policy: [segment.NAME] must be a table")
        text = repr(sorted(data.items())) + repr(sorted(self._segments.items()))
        self._version = hashlib.sha256(text.encode()).hexdigest()[:12] if data or self._segments else "default"
        self._base = data
        self.default = self._validated(data, "")
        for name, over in self._segments.items():
            if not isinstance(over, dict):
                raise PolicyError(f"policy: segment.{name} must be a table, not {over!r}")
            for section in FOR_ALL:
                if section in over:
                    raise PolicyError(
                        f"policy: segment.{name}.{section}: it is about all accounts; set [{section}] instead"
                    )
        self._by_segment = {
            name: self._validated(_merged(data, over), f"segment.{name}.") for name, over in self._segments.items()
        }

    def _validated(self, data: dict[str, Any], where: str) -> Policy:
        try:
            policy = Policy.model_validate({"version": self._version, **data})
            wrong = [f"{where}{key}: there is no such key" for key in _unknown(data, Policy)]
            wrong += [f"{where}{problem}" for problem in policy.problems()]
        except ValidationError as error:
            problems = "; ".join(
                f"{where}{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()
            )
            raise PolicyError(f"policy: {problems}") from None
        if wrong:
            raise PolicyError(f"policy: {'; '.join(wrong)}")
        return policy

    def for_segment(self, segment: str) -> Policy:
        """The policy for a segment; accounts of an unnamed or unknown segment get the default."""
        return self._by_segment.get(segment, self.default)

    @property
    def segments(self) -> Mapping[str, Policy]:
        """The policy of every segment that has one of its own; all other accounts have `default`."""
        return self._by_segment

    @classmethod
    def read(cls, path: Path | None) -> "PolicyFile":
        """Read a TOML file; no path means the defaults. Raises `PolicyError` with the key and the reason."""
        if path is None:
            return cls()
        try:
            return cls(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise PolicyError(f"policy: there is no file {path}") from None
        except OSError as error:
            raise PolicyError(f"policy: {path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PolicyError(f"policy: {path} is not valid TOML: {error}") from None


def _unknown(data: dict[str, Any], model: type[BaseModel], path: str = "") -> list[str]:
    """The keys of a file that no field takes, as dotted paths."""
    found = []
    for key, value in data.items():
        field = model.model_fields.get(key)
        if field is None:
            found.append(f"{path}{key}")
        elif isinstance(value, dict) and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _unknown(value, field.annotation, f"{path}{key}.")
    return found


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if both else value
    return out
