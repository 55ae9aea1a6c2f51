"""Usage decline, renewal, onboarding, win-back, card expiry, pause: the words of their letters, and what stops one."""

from __future__ import annotations

import html as entities
import re
from html.parser import HTMLParser

import pytest

from activities.letters import Letter, MissingField, fields_of, render, templates

FULL: dict[str, str | int] = {
    "first_name": "Zoe",
    "company": "Northwind Labs",
    "product": "Northwind Pro",
    "postal_address": "1 Harbour Street, 20457 Hamburg, Germany",
    "support_email": "help@northwind.example",
    "unsubscribe_url": "https://northwind.example/stop?t=1&k=2",
    "preferences_url": "https://northwind.example/choose?t=1&k=2",
    "app_url": "https://northwind.example/app?a=1&b=2",
    "account": "acct_17",
    "account_name": "Harbor Foods",
    "csm_name": "Maya Lind",
    "csm_email": "maya@northwind.example",
    "executive_name": "Ines Koch",
    "feature": "Reports",
    "usage_delta": 62,
    "usage_trend": "down 62% (48 now, 126 in as many days before the fall)",
    "unused_feature": "Reports",
    "usage_summary": "310 logins, 42 reports",
    "days": 14,
    "article_url": "https://northwind.example/article?a=1&b=2",
    "tutorial_url": "https://northwind.example/tutorial?a=1&b=2",
    "booking_url": "https://northwind.example/book?a=1&b=2",
    "offer_url": "https://northwind.example/offer?a=1&b=2",
    "sign_url": "https://northwind.example/sign?a=1&b=2",
    "wizard_url": "https://northwind.example/wizard?a=1&b=2",
    "help_url": "https://northwind.example/help?a=1&b=2",
    "story_url": "https://northwind.example/story?a=1&b=2",
    "next_url": "https://northwind.example/next?a=1&b=2",
    "update_url": "https://northwind.example/card?a=1&b=2",
    "reactivate_url": "https://northwind.example/back?a=1&b=2",
    "pct": 20,
    "months": 3,
    "pause_months": 3,
    "expires": "Friday 18 December",
    "renewal_date": "Thursday 31 December",
    "value": "$24,000.00",
    "term": "annual",
    "roles": "champion, sponsor",
    "health": "55 of 100",
    "days_left": 3,
    "missed": "value assessment, executive sponsor",
    "open_items": "connect a data source, invite your team",
    "story": "how Alder Foods saved a day a month on its report",
    "value_metric": "42 reports in four weeks",
    "next_step": "connect a data source",
    "topic": "Analytics walkthrough",
    "day": 5,
    "goals": "one report a week without manual work",
    "handoff": "stakeholders: Zoe, Bo; promised: import of old data",
    "updates": "Reports can now be scheduled, and the import takes spreadsheets.",
    "churned_on": "Monday 2 November",
    "card_last4": "4242",
    "exp_date": "Saturday 30 January",
    "resume_date": "Monday 1 March",
}
# What a letter may honestly have to do without.
MAY_LACK = ("first_name", "account_name", "card_last4", "open_items", "goals", "handoff", "usage_summary",
            "unused_feature")  # fmt: skip
BLANK: dict[str, str | int] = {
    **dict.fromkeys(MAY_LACK, ""),
    "csm_name": "your team at Northwind Labs",
    "csm_email": "help@northwind.example",
}

ALWAYS = {"first_name", "company", "product", "postal_address", "support_email", "unsubscribe_url", "preferences_url",
          "app_url", "account", "account_name", "csm_name", "csm_email"}  # fmt: skip

# What each says besides the fields every letter may use; the playbooks have to give exactly these.
OFFER = {"pct", "months", "expires", "offer_url"}
MARKETING: dict[str, set[str]] = {
    "usage.d3": set(),
    "usage.d3_severe": {"unused_feature", "usage_delta", "tutorial_url"},
    "usage.self_book": {"booking_url"},
    "usage.training": {"booking_url"},
    "usage.discount": OFFER,
    "usage.retention": OFFER | {"executive_name"},
    "usage.pause": {"pause_months", "offer_url"},
    "renewal.qbr_invite": {"renewal_date", "booking_url"},
    "onboarding.d1": {"open_items", "wizard_url"},
    "onboarding.d3": {"open_items", "help_url"},
    "onboarding.d7": {"help_url"},
    "onboarding.w2a": {"feature", "help_url"},
    "onboarding.w2b": {"help_url"},
    "onboarding.w2c": {"story", "story_url"},
    "onboarding.w3a": {"feature", "help_url"},
    "onboarding.w3b": {"help_url"},
    "onboarding.w3c": set(),
    "onboarding.w4.value": {"value_metric"},
    "onboarding.w4.advocate": {"booking_url"},
    "onboarding.drop": {"next_step", "next_url"},
    "onboarding.milestone_missed": {"next_step", "next_url"},
    "onboarding.celebrate": {"help_url"},
    "onboarding.help": {"help_url", "booking_url"},
    "onboarding.session": {"topic", "day", "booking_url"},
    "onboarding.group": {"topic", "day", "booking_url"},
    "onboarding.self_guided": {"topic", "day", "help_url"},
    "onboarding.weekend": {"help_url"},
    "winback.exec": OFFER | {"executive_name"},
    "winback.csm": OFFER,
    "winback.last": {"expires", "offer_url"},
    "winback.payment": {"update_url", "reactivate_url"},
} | {f"winback.{name}": {"updates", "reactivate_url"} for name in ("auto1", "auto2", "auto3", "auto4", "quarterly")}
SERVICE: dict[str, set[str]] = {
    "renewal.terms": {"renewal_date", "value"},
    "renewal.contract": {"renewal_date", "value", "sign_url"},
    "renewal.unsigned": {"renewal_date", "sign_url", "days_left"},
    "pause.confirm": {"resume_date"},
    "pause.resume_7d": {"resume_date"},
} | {f"predunning.card_{days}": {"card_last4", "exp_date", "update_url"} for days in (30, 15, 7)}
IN_APP: dict[str, set[str]] = {
    "usage.d1": {"article_url"},
    "predunning.card_banner": {"exp_date", "update_url"},
    "onboarding.nudge": {"next_step", "next_url"},
}
GUIDES: dict[str, set[str]] = {
    "usage.call": {"usage_trend"},
    "renewal.prep": {"renewal_date", "value", "term", "roles", "health", "usage_summary"},
    "renewal.review": {"renewal_date"},
    "renewal.qbr": {"renewal_date"},
    "renewal.roi_report": {"renewal_date", "value", "usage_summary"},
    "renewal.escalation": {"renewal_date", "value", "days_left"},
    "renewal.catch_up": {"renewal_date", "missed"},
    "onboarding.call": {"day", "topic", "goals", "handoff"},
    "onboarding.expansion": set(),
    "onboarding.plan": {"goals", "handoff"},
    "winback.call": {"churned_on"},
    "winback.outreach": {"churned_on"},
    "predunning.csm": {"exp_date"},
}
for name in ("outreach", "screen_share", "recovery_plan", "executive"):
    GUIDES[f"usage.{name}"] = {"usage_trend"}
for name in ("kickoff", "assess", "pricing", "negotiation", "concerns", "final_terms", "send", "close"):
    GUIDES[f"renewal.{name}"] = {"renewal_date", "value"}
for name in ("check_in", "rescue", "escalation"):
    GUIDES[f"onboarding.{name}"] = {"open_items"}
GUIDES["onboarding.assessment"] = {"goals", "handoff", "open_items"}

MAILS = [*MARKETING, *SERVICE]
TO_CUSTOMERS = [*MAILS, *IN_APP]
OWN = MARKETING | SERVICE | IN_APP | GUIDES
KEYS = list(OWN)
# Labels of the small tables: "Discount: 20%" in the text part.
TABLE = {"Discount", "For", "Open until", "Renewal date", "Contract value"}


def write(key: str, /, **changes: str | int) -> Letter:
    return render(key, {**FULL, **changes})


def words(html: str) -> str:
    """What a reader of the HTML part sees, as one line."""
    body = re.sub(r"<!--.*?-->", "", re.split(r"<body[^>]*>", html)[-1], flags=re.DOTALL)
    body = re.sub(r"</?a\b[^>]*>", "", body)
    return " ".join(entities.unescape(re.sub(r"<[^>]+>", " ", body)).split())


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)


def parts(letter: Letter) -> list[str]:
    return [letter.subject, letter.text, *([words(letter.html)] if letter.html else [])]


# Every letter.


def test_every_letter_asked_for_is_there() -> None:
    assert set(KEYS) <= set(templates())
    assert len(KEYS) == len(MARKETING) + len(SERVICE) + len(IN_APP) + len(GUIDES) == 76


@pytest.mark.parametrize("key", KEYS)
def test_a_letter_uses_the_agreed_fields_and_no_others(key: str) -> None:
    assert fields_of(key) - ALWAYS == OWN[key]


@pytest.mark.parametrize("key", KEYS)
def test_c15_missing_merge_field_blocks_the_send(key: str) -> None:
    for name in fields_of(key):
        with pytest.raises(MissingField) as caught:
            render(key, {field: value for field, value in FULL.items() if field != name})
        assert (caught.value.key, caught.value.names) == (key, (name,))
    for name in fields_of(key) - set(MAY_LACK):
        with pytest.raises(MissingField) as caught:
            write(key, **{name: ""})
        assert caught.value.names == (name,)


@pytest.mark.parametrize("blank", [{}, BLANK], ids=["full", "blank"])
@pytest.mark.parametrize("count", [3, 1, 0, -2])
@pytest.mark.parametrize("key", KEYS)
def test_every_letter_reads_clean(key: str, count: int, blank: dict[str, str | int]) -> None:
    many = max(count, 1)
    letter = write(key, days_left=count, months=many, pause_months=many, days=many, **blank)
    assert letter.subject and "\n" not in letter.subject
    for part in parts(letter):
        for wrong in ("{{", "}}", "{%", "None", " ,", " .", " :", "..", "!", ": .", "()", "\u2013", "\u2014", "\u2019"):
            assert wrong not in part, (wrong, part)
        assert not re.search(r"\S  +\S", part)
        assert not re.search(r"(?<!\d)-?1 (days|months)\b|-\d+ days?\b", part)
        assert not re.search(r"\b[3-9] (day|month)\b", part)
    assert "\n\n\n" not in letter.text and letter.text.endswith("\n")
    for line in letter.text.splitlines():
        assert not line.endswith(": ") and line != "-"
    if blank and letter.html:
        assert "Hello," in letter.text and "Hello," in words(letter.html)
        assert "ending in" not in letter.text and "Still open" not in letter.text + letter.html


@pytest.mark.parametrize("blank", [{}, BLANK], ids=["full", "blank"])
@pytest.mark.parametrize("key", MAILS)
def test_c15_both_parts_say_the_same(key: str, blank: dict[str, str | int]) -> None:
    letter = write(key, **blank)
    seen = words(letter.html)
    for line in letter.text.splitlines():
        label, _, value = line.partition(": ")
        expected = label if value.startswith("https://") else f"{label} {value}" if label in TABLE else line
        assert expected.removeprefix("- ").strip("-") in seen, expected


@pytest.mark.parametrize("key", TO_CUSTOMERS)
def test_every_button_has_its_link_in_the_text(key: str) -> None:
    letter = write(key)
    own = {str(FULL[name]) for name in OWN[key] if name.endswith("_url")}
    if letter.html:
        buttons = {entities.unescape(link) for link in re.findall(r'href="(https://[^"]*)"', letter.html)}
        assert own <= buttons
        for link in buttons:
            assert f": {link}\n" in letter.text
            assert letter.html.count(f'href="{entities.escape(link)}"') == 1
    for link in own:
        assert f": {link}\n" in letter.text


@pytest.mark.parametrize("key", [*IN_APP, *GUIDES])
def test_what_is_no_mail_has_only_text(key: str) -> None:
    assert write(key).html == ""


@pytest.mark.parametrize("key", MAILS)
def test_html_is_escaped_and_text_is_not(key: str) -> None:
    odd = '<b title="x">Zoe & Co</b>'
    texts = {name: odd for name, value in FULL.items() if isinstance(value, str) and not name.endswith("_url")}
    letter = write(key, **texts)
    seen = Tags()
    seen.feed(letter.html)
    assert "b" not in seen.names and "a" in seen.names
    assert f"Hello {odd}," in words(letter.html)
    for part in (letter.subject, letter.text):
        assert "&amp;" not in part and "&lt;" not in part and "&#" not in part
    assert f"Hello {odd}," in letter.text


# The frame: why it is sent, whom to ask, how to stop it.


@pytest.mark.parametrize("key", MARKETING)
def test_c15_mail_that_is_not_about_billing_can_be_stopped(key: str) -> None:
    letter = write(key)
    assert "Unsubscribe from these mails: https://northwind.example/stop?t=1&k=2\n" in letter.text
    assert 'href="https://northwind.example/stop?t=1&amp;k=2"' in letter.html
    assert "Choose what we write to you about: https://northwind.example/choose?t=1&k=2\n" in letter.text
    assert "the billing of your account" not in letter.text and "the billing of your account" not in letter.html
    why = "you were a customer of" if key.startswith("winback.") else "you have an account with"
    for part in parts(letter)[1:]:
        assert f"You get this mail because {why} Northwind Labs." in part


@pytest.mark.parametrize(
    ("start", "about"),
    [
        ("renewal.", "your contract with"),
        ("predunning.", "the card on file for your account with"),
        ("pause.", "the pause of your subscription with"),
    ],
)
def test_service_mail_says_honestly_why_it_is_sent(start: str, about: str) -> None:
    for key in SERVICE:
        if key.startswith(start):
            assert "unsubscribe_url" not in fields_of(key)
            for part in parts(write(key))[1:]:
                assert f"You get this service message because it is about {about} Northwind Labs." in part
                assert "nsubscribe" not in part


@pytest.mark.parametrize("key", [*MARKETING, "renewal.terms", "renewal.contract", "renewal.unsigned"])
def test_r12_a_mail_that_offers_help_gives_a_direct_line(key: str) -> None:
    letter = write(key)
    assert "You can always reach Maya Lind directly: maya@northwind.example\n" in letter.text
    assert 'href="mailto:maya@northwind.example"' in letter.html
    unknown = write(key, **BLANK).text
    assert "You can always reach your team at Northwind Labs directly: help@northwind.example\n" in unknown


# What no letter says.


@pytest.mark.parametrize("key", TO_CUSTOMERS)
def test_r5_no_guilt_no_pressure_no_blame(key: str) -> None:
    said = " ".join(parts(write(key))).lower()
    for word in ("miss you", "sad", "disappoint", "let down", "abandon", "neglect", "ignor", "fail", "your fault",
                 "unfortunately", "regret", "last chance", "hurry", "act now", "don't lose", "you promised",
                 "after all", "should have", "forgot", "still waiting", "limited time"):  # fmt: skip
        assert not re.search(rf"\b{word}", said), word


@pytest.mark.parametrize("key", KEYS)
def test_r5_no_letter_names_half_price_or_a_number_of_its_own(key: str) -> None:
    for part in parts(write(key)):
        assert "50%" not in part and "half" not in part.lower() and "free month" not in part.lower()
        assert set(re.findall(r"\d+ ?%", part)) <= {"20%", "62%"}


@pytest.mark.parametrize("key", ["usage.d1", "usage.d3", "usage.d3_severe", "usage.self_book", "usage.training"])
def test_r4_outreach_on_usage_decline_is_help_and_no_pitch(key: str) -> None:
    said = " ".join(parts(write(key))).lower()
    for word in ("discount", "% off", "price", "offer is", "upgrade", "plan", "deal", "buy now"):
        assert word not in said.replace("nothing to buy", ""), word


@pytest.mark.parametrize("key", TO_CUSTOMERS)
def test_words_for_our_own_people_stay_inside(key: str) -> None:
    said = " ".join(parts(write(key)))
    for word in ("CSM", "QBR", "churn", "at risk", "At risk", "health score", "MRR", "ARR", "dunning", "acct_17",
                 "escalat", "not for the customer"):  # fmt: skip
        assert word not in said, word


# C3 and P3: usage decline.


def test_c3_1_the_soft_touch_is_the_sentence_of_the_ledger() -> None:
    lines = write("usage.d1").text.splitlines()
    assert lines[0] == "We noticed you've been quiet. Need help?"
    assert lines[-1] == "Read a short guide: https://northwind.example/article?a=1&b=2"


@pytest.mark.parametrize("key", ["usage.d3", "usage.d3_severe"])
def test_c3_2_the_check_in_asks_is_everything_okay(key: str) -> None:
    assert write(key).subject == "Is everything okay, Zoe?"
    assert write(key, first_name="").subject == "Is everything okay?"
    assert write(key, first_name="Zoe & Co").subject == "Is everything okay, Zoe & Co?"


def test_c3_3_the_severe_check_in_names_the_feature_the_drop_and_the_tutorial() -> None:
    for part in parts(write("usage.d3_severe"))[1:]:
        assert "haven't used Reports. Need help?" in part
        assert "down 62%" in part and "Open the tutorials" in part


def test_c3_3_without_an_unused_feature_or_figures_the_severe_check_in_claims_neither() -> None:
    for part in parts(write("usage.d3_severe", unused_feature="", usage_delta=0))[1:]:
        assert "haven't used" not in part and "activity in your account is down" not in part
        assert "have been quiet in your Northwind Pro account. Need help?" in part


def test_c3_4_the_call_asks_and_must_leave_a_plan() -> None:
    guide = write("usage.call").text
    assert "What's changed?" in guide and "What would help?" in guide
    assert "Usage: down 62% (48 now, 126 in as many days before the fall)\n" in guide
    assert "Record the action plan" in guide and "The task is not done without it." in guide
    assert "turn this into a sales talk" in guide


def test_c3_5_training_offer_and_personal_note() -> None:
    assert write("usage.training").subject == "Free training session"
    assert write("usage.discount").subject == "A short-term offer"
    note = write("usage.retention")
    assert note.subject == "A personal note from Ines Koch"
    assert "Kind regards,\nInes Koch\nNorthwind Labs\n" in note.text
    assert "Kind regards, Ines Koch Northwind Labs" in words(note.html)


@pytest.mark.parametrize("key", ["usage.discount", "usage.retention", "winback.exec", "winback.csm"])
def test_o12_an_offer_says_how_much_how_long_and_until_when(key: str) -> None:
    text = write(key).text
    assert "Discount: 20%\nFor: 3 months\nOpen until: Friday 18 December\n" in text
    assert "the usual price applies again" in text and "If you do nothing, nothing changes." in text
    assert "For: 1 month\n" in write(key, months=1).text


def test_p3_15_a_planned_lull_can_be_a_pause() -> None:
    assert "for up to 3 months" in write("usage.pause").text
    assert "for up to 1 month." in write("usage.pause", pause_months=1).text
    for key in ("usage.call", "usage.outreach", "usage.screen_share"):
        assert "a pause is possible" in write(key).text


def test_p3_the_later_steps_are_what_the_ledger_names() -> None:
    assert "High priority" in write("usage.outreach").text
    assert "shared screen" in write("usage.screen_share").text
    plan = write("usage.recovery_plan").text
    assert "The manager calls" in plan and "Record the recovery plan" in plan
    executive = write("usage.executive").text
    assert "no discount is active" in executive and "approval" in executive


# C6 and P6: renewal.


def test_c6_1_renewal_kickoff_schedules_the_discussion() -> None:
    task = write("renewal.kickoff")
    assert task.subject == "Renewal Kickoff"
    assert "Schedule renewal discussion with Harbor Foods\n" in task.text
    assert "Schedule renewal discussion with account acct_17\n" in write("renewal.kickoff", account_name="").text


def test_c6_2_the_four_mails_of_a_renewal() -> None:
    assert write("renewal.qbr_invite").subject == "An invitation to your business review"
    assert write("renewal.terms").subject == "Your renewal terms"
    assert write("renewal.contract").subject == "Your renewal contract is ready to sign"
    assert write("renewal.unsigned").subject == "Your renewal contract is not signed yet"
    for key in ("renewal.terms", "renewal.contract"):
        assert "Renewal date: Thursday 31 December\nContract value: $24,000.00\n" in write(key).text
    assert "the team at Harbor Foods" in write("renewal.qbr_invite").text
    assert "you and your team" in write("renewal.qbr_invite", account_name="").text


@pytest.mark.parametrize(
    ("days", "mail", "guide"),
    [
        (3, "Your renewal date is Thursday 31 December, in 3 days.", "the renewal is 3 days away."),
        (1, "Your renewal date is Thursday 31 December, in 1 day.", "the renewal is 1 day away."),
        (0, "Your renewal date is today, Thursday 31 December.", "the renewal is today."),
        (-4, "Your renewal date was Thursday 31 December.", "the renewal date has passed."),
    ],
)
def test_p6_10_the_unsigned_contract_counts_the_real_days(days: int, mail: str, guide: str) -> None:
    letter = write("renewal.unsigned", days_left=days)
    assert mail in letter.text and mail in words(letter.html)
    assert guide in write("renewal.escalation", days_left=days).text


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (
            "renewal.prep",
            ["Do not contact the customer", "renewal date and the term", "usage, results (ROI) and health"],
        ),
        ("renewal.prep", ["Term: annual\n", "champion, sponsor\n", "Health: 55 of 100\n", "310 logins, 42 reports\n"]),
        ("renewal.send", ["no page on record", "Close this task as sent"]),
        ("renewal.concerns", ["what would keep them from renewing", "finalise them in writing"]),
        ("renewal.assess", ["CSM: confirm", "the value assessment", "Executive sponsor: find"]),
        ("renewal.review", ["Value review", "On the call"]),
        ("renewal.qbr", ["Schedule the QBR", "List the expansion opportunities"]),
        ("renewal.roi_report", ["Usage: 310 logins, 42 reports\n"]),
        ("renewal.negotiation", ["open concerns", "Finalise the terms"]),
        ("renewal.final_terms", ["Executive alignment"]),
        ("renewal.catch_up", ["value assessment, executive sponsor\n"]),
        ("renewal.close", ["as won"]),
    ],
)
def test_p6_each_guide_asks_for_what_its_milestone_needs(key: str, said: list[str]) -> None:
    for part in said:
        assert part in write(key).text


# C7 and P7: onboarding.


def test_c7_1_welcome_progress_and_next_steps() -> None:
    assert write("onboarding.d1").subject == "Welcome to Northwind Pro"
    assert write("onboarding.d3").subject == "How is it going?"
    assert write("onboarding.d7").subject == "You did it - next steps"
    for key in ("onboarding.d1", "onboarding.d3"):
        assert "Still open: connect a data source, invite your team\n" in write(key).text


def test_c7_2_each_week_has_its_own_mail() -> None:
    assert "Reports" in write("onboarding.w2a").subject
    assert write("onboarding.w2b").subject == "Best practices for Northwind Pro"
    assert "how Alder Foods saved a day a month on its report" in write("onboarding.w2c").text
    assert write("onboarding.w3a").subject == "Advanced features: Reports"
    assert "workflow" in write("onboarding.w3b").subject
    assert write("onboarding.w3c").subject == "Is there anything you need from us?"


def test_c7_3_value_check_and_the_invitation_to_advocates() -> None:
    assert "42 reports in four weeks" in write("onboarding.w4.value").text
    advocate = write("onboarding.w4.advocate")
    assert advocate.subject == "Join our advocates"
    assert "Nothing is published without your consent" in advocate.text


def test_c7_4_the_session_guide_names_day_topic_and_goals() -> None:
    guide = write("onboarding.call")
    assert guide.subject == "Onboarding, day 5 - Analytics walkthrough: Harbor Foods"
    assert "Goals: one report a week without manual work\n" in guide.text
    for key in ("onboarding.call", "onboarding.plan", "onboarding.assessment"):
        assert "From sales: stakeholders: Zoe, Bo; promised: import of old data\n" in write(key).text
        assert "From sales" not in write(key, handoff="").text
        assert "Goals: none on record yet; ask for them\n" in write(key, goals="").text


def test_c7_5_pick_up_where_you_left_off() -> None:
    assert write("onboarding.drop").subject == "Pick up where you left off"
    for key in ("onboarding.drop", "onboarding.nudge"):
        assert "Next step: connect a data source\n" in write(key).text


def test_a_company_whose_name_ends_with_a_full_stop_has_one_only() -> None:
    for key in MAILS:
        for part in parts(write(key, company="Northwind Inc."))[1:]:
            assert "Northwind Inc.." not in part and re.search(r"(with|of) Northwind Inc\. ?", part)


def test_p7_13_a_day_without_a_session_says_that_support_is_there() -> None:
    assert "Support is there for you." in write("onboarding.weekend").text


def test_p7_18_one_to_one_or_group() -> None:
    assert (
        "one-to-one session" in write("onboarding.session").text
        and "Topic: Analytics" in write("onboarding.session").text
    )
    assert write("onboarding.group").subject == "Group training: Analytics walkthrough"


def test_p7_22_a_good_start_asks_for_a_testimonial_with_consent() -> None:
    text = write("onboarding.celebrate").text
    assert "A reply to this mail is enough." in text and "nothing without your consent" in text


def test_p7_24_the_rescue_is_three_things_at_once() -> None:
    guide = write("onboarding.rescue").text
    for part in ("Immediate outreach", "Personal onboarding call", "Custom success plan"):
        assert part in guide
    assert "For the account manager" in write("onboarding.escalation").text


# C12.3 and P20: win-back.


def test_c12_3_who_writes_and_what_it_brings() -> None:
    assert write("winback.exec").subject == "A personal note from Ines Koch"
    assert "Kind regards,\nInes Koch\n" in write("winback.exec").text
    for name in ("auto1", "auto2", "auto3", "auto4", "quarterly"):
        letter = write(f"winback.{name}")
        assert "What is new: Reports can now be scheduled" in letter.text
        assert "Reactivate your account: https://northwind.example/back?a=1&b=2\n" in letter.text
    assert len({write(key).subject for key in MARKETING if key.startswith("winback.")}) == 9


def test_p20_9_who_left_over_a_payment_is_led_to_the_card_first() -> None:
    letter = write("winback.payment")
    assert letter.subject == "Update your card to reactivate your account"
    card, back = (letter.text.index(str(FULL[name])) for name in ("update_url", "reactivate_url"))
    assert card < back
    assert not {"pct", "offer_url"} & fields_of("winback.payment") and "discount" not in letter.text.lower()


def test_p20_8_the_last_try_says_that_it_is_the_last() -> None:
    assert write("winback.last").subject == "Our last mail about coming back"
    assert "only once a quarter" in write("winback.auto4").text


@pytest.mark.parametrize("key", ["winback.call", "winback.outreach"])
def test_p20_10_a_person_checks_the_opt_out_before_calling(key: str) -> None:
    text = write(key).text
    assert "Left on: Monday 2 November\n" in text and "asked us to stop contacting them" in text


# C2.1 and C13.2: card expiry and pause.


@pytest.mark.parametrize(
    "key", ["predunning.card_30", "predunning.card_15", "predunning.card_7", "predunning.card_banner"]
)
def test_c2_1_your_card_expires_soon(key: str) -> None:
    letter = write(key)
    assert letter.subject == "Your card expires soon"
    assert "expires on Saturday 30 January." in letter.text
    assert "Update your card: https://northwind.example/card?a=1&b=2\n" in letter.text
    if letter.html:
        assert "The card ending in 4242 that pays for Northwind Pro expires" in letter.text
        assert "The card that pays for Northwind Pro expires" in write(key, card_last4="").text


def test_p2_2_nobody_takes_card_numbers() -> None:
    assert "take card numbers by phone or mail" in write("predunning.csm").text


def test_c13_2_paused_until_and_resuming_soon() -> None:
    assert write("pause.confirm").subject == "Paused until Monday 1 March"
    assert "You are not billed during the pause." in write("pause.confirm").text
    assert write("pause.resume_7d").subject == "Resuming soon - your pause ends on Monday 1 March"


# Guides for our own people.


@pytest.mark.parametrize("key", GUIDES)
def test_r9_a_guide_names_the_customer_and_asks_for_a_note(key: str) -> None:
    guide = write(key)
    assert guide.text.startswith("For you, not for the customer.\n\nCustomer: Harbor Foods\nContact: Zoe\n")
    assert "Afterwards\n- " in guide.text
    unknown = write(key, **BLANK).text
    assert "Customer: account acct_17\nContact: the main contact of the account\n" in unknown
    if key != "renewal.kickoff":
        assert guide.subject.endswith(": Harbor Foods")
