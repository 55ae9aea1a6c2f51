"""`holdfast preview`: every playbook's calendar for one account, with what is left undone, and its mails as a page."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from temporalio import workflow

from activities.letters import MissingField, UnknownTemplate
from models.cases import Case, Ending
from models.database import Database
from models.picture import Person
from models.policy import Policy
from models.tables import Account
from tests.workers.test_cli import holdfast, python
from workers import migrate
from workers.authoring import NoSuchPlaybook, as_page, playbook_named
from workers.preview import About, Line, Preview, preview
from workflows import PLAYBOOKS
from workflows.payment_failure import PaymentFailure
from workflows.playbook import Playbook
from workflows.reinstatement import Reinstatement
from workflows.steps import Start, name_of, on_day
from workflows.usage_decline import UsageDecline

START = datetime(2026, 11, 25, 20, 40, tzinfo=UTC)
"""Past two in the morning of the next day in Kolkata."""
ASHA = Person(name="Asha Rao", email="asha@example.com", timezone="Asia/Kolkata")
ABOUT = About(account="acme", person=ASHA, segment="mid", owner="bo", mrr=90_000)


def shown(playbook: type[Playbook], *, about: About = ABOUT, decline: str = "", value: str = "") -> Preview:
    """The preview from `START` on, under the default policy."""
    return preview(playbook, Policy(), about=about, start=START, decline=decline, value=value)


def told(line: Line) -> tuple[str, ...]:
    """A line as a person reads it."""
    when = f"{line.at:%a %d %b %H:%M}"
    return (when, line.step, line.who, line.channel, line.what) if not line.why_not else (when, line.step, line.why_not)


def test_a_preview_tells_day_local_hour_step_who_how_and_the_subject() -> None:
    found = shown(PaymentFailure)
    assert (found.zone, found.about, found.outcome) == ("Asia/Kolkata", "acme (mid)", "suspended")
    assert [told(line) for line in found.lines][:8] == [
        ("Thu 26 Nov 02:10", "tell_them", "Stripe", "billing", "Switch off the provider's own retries"),
        ("Thu 26 Nov 02:10", "tell_them", "the account", "CRM", "Raise risk signal: payment issues"),
        ("Thu 26 Nov 02:10", "tell_them", "users", "in-app", "Your payment did not go through"),
        (
            *("Thu 26 Nov 02:10", "tell_them", "billing contact", "e-mail"),
            "Payment didn't go through - update your card",
        ),
        ("Thu 26 Nov 03:10", "first_retry", "the card on file", "billing", "Retry the payment"),
        ("Sun 29 Nov 02:10", "remind_them", "the card on file", "billing", "Retry the payment"),
        ("Sun 29 Nov 02:10", "remind_them", "billing contact", "e-mail", "Quick reminder - update your payment"),
        ("Thu 03 Dec 02:10", "warn_them", "the card on file", "billing", "Retry the payment"),
    ]
    assert [line.day for line in found.lines][3:6] == [0, 0.04, 3]
    (tasks,) = {line.who for line in found.lines if line.channel == "task"}
    assert tasks == "bo"


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=name_of)
def test_every_line_of_every_playbook_says_what_a_person_needs_to_know(playbook: type[Playbook]) -> None:
    found = shown(playbook)
    assert found.lines
    assert found.outcome
    for line in found.lines:
        assert line.at.utcoffset() == timedelta(hours=5, minutes=30)
        assert line.day == round((line.at - START) / timedelta(days=1), 2)
        assert line.step
        assert line.title.partition(": ")[2], "a title of its own, after the day"
        if not line.why_not:
            assert all((line.who, line.channel, line.what)), line
        if line.channel == "e-mail":
            assert line.html.startswith("<!DOCTYPE html>")
            assert line.template
    assert [line.at for line in found.lines] == sorted(line.at for line in found.lines)


def test_each_branch_that_is_not_taken_is_told_with_its_reason() -> None:
    moderate = {line.step: line.why_not for line in shown(UsageDecline, value="moderate").lines if line.why_not}
    assert moderate["alert_the_csm"] == "Only where usage fell by half or more"
    assert moderate["offer_training"] == "no discount: health is not at risk"
    severe = {line.step: line.why_not for line in shown(UsageDecline, value="severe").lines if line.why_not}
    assert "alert_the_csm" not in severe
    assert severe["call_them"] == "Only for accounts in usage.call_scope"


def test_what_the_end_brings_and_a_step_that_finds_nothing_to_do_are_told_too() -> None:
    assert [told(line) for line in shown(UsageDecline, value="moderate").lines][-2:] == [
        ("Thu 24 Dec 02:10", "ending", "users", "in-app", "Take the banner down"),
        ("Thu 24 Dec 02:10", "ending", "other playbooks", "fact", "Tell: usage.unresolved"),
    ]
    assert [told(line) for line in shown(Reinstatement).lines] == [
        ("Thu 26 Nov 02:10", "see_whether_all_is_paid", "nothing to do")
    ]


def test_a_lost_card_shows_the_retries_that_are_not_made() -> None:
    lines = [line for line in shown(PaymentFailure, decline="lost_card").lines if line.what == "Retry the payment"]
    assert [(line.step, line.why_not) for line in lines] == [
        (step, "hard decline (lost_card): this card is not retried")
        for step in ("first_retry", "remind_them", "warn_them")
    ]
    first = next(line for line in shown(PaymentFailure, decline="lost_card").lines if line.channel == "e-mail")
    assert (first.template, first.what) == ("dunning.hard", "New card needed")


class Lacking(Playbook):
    """One mail."""

    starts_on = (Start("x"),)
    template = ""

    async def follow_it(self, case: Case) -> Ending:
        """One step."""
        return await self.follow(case, on_day(0, self.write), otherwise="over")

    def write(self) -> None:
        """Write without what the words need."""
        self.email(self.template)


@workflow.defn(name="lacks-a-field")
class LacksAField(Lacking):
    """A mail whose words need a date that nobody gives."""

    template = "dunning.d14"

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """One step."""
        return await self.follow_it(case)


@workflow.defn(name="lacks-a-template")
class LacksATemplate(Lacking):
    """A mail that nobody wrote."""

    template = "dunning.d15"

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """One step."""
        return await self.follow_it(case)


def test_a_mail_that_lacks_a_field_or_its_template_is_an_error_that_names_it() -> None:
    with pytest.raises(MissingField, match=r"'dunning\.d14' lacks merge fields: suspend_date"):
        shown(LacksAField)
    with pytest.raises(UnknownTemplate, match=r"no template 'dunning\.d15'; known: .*dunning\.d14"):
        shown(LacksATemplate)


def test_an_unknown_playbook_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(NoSuchPlaybook, match="no playbook 'dunning'; these are: payment-failure, reinstatement"):
        playbook_named("dunning")


class Page(HTMLParser):
    """The elements of a page, and the frames with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.frames: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.tags.append(tag)
        if tag == "iframe":
            self.frames.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        """Keep it."""
        self.text += data


def test_the_page_shows_each_mail_in_a_frame_that_may_do_nothing() -> None:
    hostile = "<script>alert(1)</script>"
    about = About(account=hostile, person=Person(name=hostile, email="a@example.com"), owner=hostile, company=hostile)
    found = shown(PaymentFailure, about=about)
    page = Page(as_page(found))
    assert [(frame["sandbox"], frame["srcdoc"]) for frame in page.frames] == [
        (None, line.html) for line in found.lines if line.html
    ]
    assert len(page.frames) == 6
    assert not {"script", "link", "img", "form"} & set(page.tags)
    assert f"For {hostile}." in page.text
    assert f"task {hostile}: Payment overdue for a week" in " ".join(page.text.split())


async def test_a_policy_file_moves_the_days(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("[dunning]\nrestrict_day = 10\nemail_days = [0, 3, 7, 8, 10]\n")
    code, out, err = await holdfast(tmp_path, "preview", "payment-failure", "--policy", "policy.toml")
    assert (code, err) == (0, "")
    assert "Day 10: Restrict the account and give final notice.  restrict, D+10" in out
    assert "D+14" not in out
    (tmp_path / "policy.toml").write_text("[dunning]\nrestrict_day = 'soon'\n")
    code, out, err = await holdfast(tmp_path, "preview", "payment-failure", "--policy", "policy.toml")
    assert (code, out) == (1, "")
    assert err.startswith("holdfast: ")
    assert "dunning.restrict_day" in err


async def test_an_account_is_read_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    database = Database(f"sqlite:///{path}")
    await migrate.upgrade(database)
    async with database.writing() as session:
        session.add(
            Account(
                id="acme",
                name="Asha Rao",
                email="asha@example.com",
                owner="bo",
                segment="mid",
                mrr=90_000,
                timezone="Asia/Kolkata",
            )
        )
    await database.close()
    before = path.read_bytes()
    path.chmod(0o400)
    asked = ("preview", "payment-failure", "--account", "acme")
    code, out, err = await holdfast(tmp_path, *asked, DATABASE_URL=f"sqlite:///{path}")
    assert (code, err) == (0, "")
    assert out.startswith("payment-failure for acme (mid); hours are those of Asia/Kolkata\n")
    assert "task to bo: Payment overdue for a week" in out
    assert path.read_bytes() == before
    code, out, err = await holdfast(tmp_path, *asked[:3], "acne", DATABASE_URL=f"sqlite:///{path}")
    assert (code, out) == (1, "")
    assert err == "holdfast: there is no account 'acne'; leave --account out for a sample one\n"


GUARDED = """
import os, sys
def forbid(event, arguments):
    mode = arguments[1] if event == "open" and isinstance(arguments[1], str) else "r"
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "sqlite3.connect", "subprocess.Popen"):
        sys.stderr.write(f"FORBIDDEN {event}\\n"); sys.stderr.flush(); os._exit(99)
    if event == "open" and set(mode) & set("wax+"):
        sys.stderr.write(f"FORBIDDEN write {arguments[0]}\\n"); sys.stderr.flush(); os._exit(99)
    if event in ("os.mkdir", "os.rename", "os.remove"):
        sys.stderr.write(f"FORBIDDEN {event}\\n"); sys.stderr.flush(); os._exit(99)
sys.dont_write_bytecode = True
sys.addaudithook(forbid)
sys.argv[0] = "holdfast"
from workers.cli import main
main()
"""


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=name_of)
async def test_a_preview_touches_nothing(tmp_path: Path, playbook: type[Playbook]) -> None:
    code, out, err = await guarded(tmp_path, "preview", name_of(playbook))
    assert (code, err) == (0, "")
    assert out.startswith(f"{name_of(playbook)} for a sample account; hours are those of UTC\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "forbidden"),
    [
        (("migrate",), "os.mkdir"),
        (("events", "send", "user.signed_up", "--account", "acme", "--url", "http://127.0.0.1:9"), "socket.connect"),
        (("preview", "payment-failure", "--html", "page.html"), "write page.html"),
    ],
)
async def test_the_guard_bites_where_a_command_does_touch_something(
    tmp_path: Path, command: tuple[str, ...], forbidden: str
) -> None:
    code, _, err = await guarded(tmp_path, *command)
    assert (code, err) == (99, f"FORBIDDEN {forbidden}\n")


async def guarded(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command with keys of everything in its environment, where the first touch of the outside ends it."""
    keys = {
        "STRIPE_API_KEY": "sk_test_1234",
        "SENDGRID_API_KEY": "SG.1234",
        "EVENTS_SECRETS": "whsec_dGhlIHNlbmRlciBvZiBmYWN0cw==",
        "DATABASE_URL": f"sqlite:///{folder}/data/holdfast.db",
    }
    return await python(folder, "-c", GUARDED, *arguments, **keys)


async def test_the_command_prints_the_calendar_and_writes_the_page(tmp_path: Path) -> None:
    asked = ("preview", "trial-ending", "--html", "trial.html")
    code, out, err = await holdfast(tmp_path, *asked)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line[18:] for line in lines if line.endswith(("D+0", "D+12"))] == [
        "Day 0: Say what the trial is good for.  welcome, D+0",
        "Day 12: Say that the trial ends in two days.  say_that_it_ends, D+12",
    ]
    assert lines.count("    e-mail to billing contact: Your trial ends in 2 days  trial.ending") == 1
    assert lines[-4:] == [
        "ends on plan.upgraded: upgraded",
        "ends on trial.cancelled: cancelled",
        "left to itself it ends: trial_over",
        "The page is at trial.html",
    ]
    assert len(Page((tmp_path / "trial.html").read_text()).frames) == 3
