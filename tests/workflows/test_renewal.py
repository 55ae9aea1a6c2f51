"""Renewal, line by line of the ledger (P6): the timeline and its overlay. How it ends is in `test_renewal_endings`."""

from datetime import UTC, datetime, time, timedelta

import pytest

from models.tables import Account, InboxEvent
from tests.playbook_kit import Kit
from tests.town import DAY
from tests.workflows.renewals import add_people, renewal
from workflows.visible import DATE

KICKOFF = "task Renewal Kickoff"
REVIEW = "task Hold the renewal kickoff and value review"
PRICING = "task Discuss pricing and terms"
NEGOTIATE = "task Negotiate the contract"
ASSESS = "task Assess the value, confirm the CSM, find the executive sponsor"
QBR = "task Schedule the QBR and list expansion opportunities"
ROI = "task Prepare the ROI report"
CONCERNS = "task Address their concerns and finalise the terms"
CATCH_UP = "task Renewal at risk: catch up"
UNSIGNED = "task The contract is not signed"
LAST = {
    "R-14": ["deal", "email renewal.terms", "task Align executives on the final terms"],
    "R-7": ["deal", "email renewal.contract"],
    "R-3": ["email renewal.unsigned", UNSIGNED, UNSIGNED],
    "R+0": ["task Close the renewal", "task Unsigned on the renewal date"],
    "R+30": ["deal", "tell renewal.lapsed"],
}
BASE = {
    "R-120": ["task Prepare the renewal"],
    "R-90": ["deal", KICKOFF],
    "R-60": ["deal", REVIEW],
    "R-55": [f"task Overdue: {REVIEW[5:]}"],
    "R-45": ["deal", PRICING],
    "R-40": [f"task Overdue: {PRICING[5:]}"],
    "R-30": ["deal", NEGOTIATE],
    "R-25": [f"task Overdue: {NEGOTIATE[5:]}"],
    **LAST,
}
OVERLAY = {
    **BASE,
    "R-90": ["deal", KICKOFF, ASSESS],
    "R-60": ["deal", REVIEW, "email renewal.qbr_invite", QBR, ROI],
    "R-55": [f"task Overdue: {REVIEW[5:]}", f"task Overdue: {QBR[5:]}"],
    "R-30": ["deal", NEGOTIATE, CONCERNS],
}
NO_OVERLAY = "Not done: no overlay: health is not below 70"


async def test_p6_1_to_p6_17_the_base_timeline(kit: Kit) -> None:
    it = await renewal(kit)
    ending = await it.run.finish()
    assert await it.calendar() == BASE
    assert (await it.run.left_out(), await it.run.dropped()) == ({}, [])
    assert ending.outcome == "lapsed"
    assert (await it.notes()).count(NO_OVERLAY) == 6


async def test_p6_1_to_p6_10_the_overlay_where_health_is_low(kit: Kit) -> None:
    it = await renewal(kit, health=69)
    await it.run.finish()
    assert await it.calendar() == OVERLAY


@pytest.mark.parametrize(("health", "overlay"), [(70, False), (69, True), (0, True), (None, False)])
async def test_p6_1_the_overlay_is_for_health_below_70(kit: Kit, health: int | None, overlay: bool) -> None:
    it = await renewal(kit, 92, health=health)
    await it.to(90)
    assert (await it.calendar())["R-90"] == ["deal", KICKOFF, *([ASSESS] * overlay)]
    assert (NO_OVERLAY in await it.notes()) is not overlay


async def test_p6_1_a_contract_that_is_not_on_record_starts_nothing(kit: Kit) -> None:
    told = await kit.tell("renewal.ahead", await kit.account(), subject="nobodys")
    assert told.reason == ("renewal not started: no contract is on record under this subject, so its date is not known")


async def test_p6_2_preparation_is_silent_and_comes_with_what_is_on_record(kit: Kit) -> None:
    account = await kit.account(segment="mid", health=55)
    await add_people(kit, account)
    await kit.use(account, "activity", 4, days=(-100, 3), today=kit.today())
    it = await renewal(kit, account=account)
    await it.to(120)
    (task,) = await it.run.tasks()
    assert (task.owner, task.due_at - task.opened_at) == ("ana", DAY)
    assert "Contact: Bob\n" in task.body
    day = f"{it.renews_on:%A} {it.renews_on.day} {it.renews_on:%B %Y}"
    assert f"Renewal date: {day}\nContract value: $12,000.00\nTerm: annual\n" in task.body
    assert "Known roles at the customer: champion, sponsor\nHealth: 55 of 100\n" in task.body
    assert "Usage: activity 120 in the last 30 days, 120 in the 30 days before\n" in task.body
    await it.to(91)
    assert await it.run.messages() == []


async def test_p6_3_deal_csm_and_kickoff_task_due_at_60_days(kit: Kit) -> None:
    it = await renewal(kit)
    await it.to(90)
    (task,) = [task for task in await it.run.tasks() if task.title == "Renewal Kickoff"]
    day = datetime.combine(it.renews_on, time(), UTC)
    assert (task.owner, round((day - task.due_at) / DAY, 2)) == ("ana", 60)
    assert "Schedule renewal discussion with Acme\n" in task.body
    assert "Not done: a CSM is assigned" in await it.notes()
    assert (await it.deal()).stage == "Renewal Due"


async def test_p6_3_without_a_csm_the_lead_assigns_one(kit: Kit) -> None:
    it = await renewal(kit, account=await kit.account(owner="", health=80))
    await it.to(90)
    tasks = {task.title: task.owner for task in await it.run.tasks()}
    assert tasks["Assign a CSM: a renewal is ahead"] == "csm-lead"
    assert tasks["Renewal Kickoff"] == "csm-lead"


async def test_p6_4_the_overlay_confirms_the_csm_the_value_and_the_sponsor(kit: Kit) -> None:
    it = await renewal(kit, health=40)
    await it.to(90)
    (task,) = [task for task in await it.run.tasks() if task.title == ASSESS[5:]]
    assert task.owner == "ana"
    assert all(word in task.body for word in ("1. CSM: confirm", "2. Value:", "3. Executive sponsor: find"))


async def test_p6_5_and_p6_6_kickoff_call_and_in_the_overlay_qbr_report_and_expansion(kit: Kit) -> None:
    account = await kit.account(segment="mid", health=40)
    await add_people(kit, account)
    it = await renewal(kit, account=account)
    await it.to(60)
    tasks = {task.title: task for task in await it.run.tasks()}
    assert (tasks[REVIEW[5:]].answers, tasks[QBR[5:]].answers) == ("held moved not_reached", "none some high")
    assert "Value review: go through the goals one by one." in tasks[REVIEW[5:]].body
    assert "1. The goals the customer set, in their words." in tasks[ROI[5:]].body
    (mail,) = await it.run.messages()
    assert (mail.recipient, mail.subject) == ("bob@acme.example.com", "An invitation to your business review")
    assert "Pick a time: https://book.example.com/ana" in mail.text
    await it.run.answer("kick_off", "held")
    await it.run.answer("kick_off", "high")
    assert ((await it.deal()).expansion_potential, (await it.deal()).stage) == ("high", "Kickoff")


async def test_p6_7_to_p6_9_whom_each_milestone_asks_and_what_the_customer_reads(kit: Kit) -> None:
    account = await kit.account(segment="mid", health=40)
    await add_people(kit, account)
    it = await renewal(kit, 48, account=account)
    await it.to(14)
    tasks = {task.title: task for task in await it.run.tasks()}
    assert (tasks[PRICING[5:]].owner, tasks[NEGOTIATE[5:]].owner, tasks[CONCERNS[5:]].owner) == ("ana",) * 3
    assert "1. Ask what would keep them from renewing" in tasks[CONCERNS[5:]].body
    assert tasks["Align executives on the final terms"].owner == "executive"
    (mail,) = await it.run.messages()
    assert (mail.recipient, mail.subject) == ("bob@acme.example.com", "Your renewal terms")
    assert "Contract value: $12,000.00" in mail.text


async def test_p6_7_a_meeting_that_did_not_take_place_goes_to_the_lead(kit: Kit) -> None:
    it = await renewal(kit, 48)
    await it.to(45)
    await it.run.answer("discuss_pricing", "not_reached")
    task = (await it.run.tasks())[-1]
    assert (task.owner, task.title) == ("csm-lead", "A renewal meeting did not take place: find another way")
    await it.to(39)
    assert not [task for task in await it.run.tasks() if task.title.startswith("Overdue")]


async def test_p6_10_the_contract_goes_to_the_sponsor_then_a_reminder_and_who_is_told(kit: Kit) -> None:
    account = await kit.account(segment="mid", health=80, timezone="America/Los_Angeles")
    await add_people(kit, account)
    it = await renewal(kit, 17, account=account, sign_url="https://sign.example.com/17")
    await it.to(0)
    day = f"{it.renews_on:%A} {it.renews_on.day} {it.renews_on:%B %Y}"
    contract, reminder = (await it.run.messages())[1:]
    assert (contract.recipient, contract.subject) == (
        "ann@acme.example.com",
        "Your renewal contract is ready to sign",
    )
    assert "Read and sign the contract: https://sign.example.com/17" in contract.text
    assert reminder.subject == "Your renewal contract is not signed yet"
    assert f"Your renewal date is {day}, in 3 days." in reminder.text
    owners = [(task.title, task.owner) for task in await it.run.tasks()][-4:]
    assert owners == [
        ("The contract is not signed", "csm-lead"),
        ("The contract is not signed", "account-executive"),
        ("Close the renewal", "ana"),
        ("Unsigned on the renewal date", "executive"),
    ]
    bodies = [task.body for task in await it.run.tasks()]
    assert "the renewal is 3 days away." in bodies[-4] and "the renewal is today." in bodies[-1]


async def test_p6_10_without_a_page_to_sign_on_a_person_sends_it_and_no_reminder_goes(kit: Kit) -> None:
    it = await renewal(kit, 10, sign_url="")
    await it.to(7)
    assert (await it.calendar())["R-7"] == ["task Send the contract for signature"]
    await it.to(3)
    assert (await it.calendar())["R-3"] == [UNSIGNED, UNSIGNED]
    assert (await it.deal()).stage == "Renewal Due"
    await it.run.answer("send_the_contract", "sent")
    assert (await it.deal()).stage == "Contract Sent"
    assert await it.run.messages() == []


async def test_p6_10_a_contract_that_is_out_already_is_not_sent_again(kit: Kit) -> None:
    it = await renewal(kit, 32)
    await it.to(31)
    await it.run.hear("contract.sent", subject=it.contract, url="https://sign.example.com/early")
    await it.to(3)
    calendar = await it.calendar()
    assert (calendar["R-30"], calendar["R-14"][0], calendar["R-7"]) == ([NEGOTIATE], "email renewal.terms", ["deal"])
    assert "Not done: the contract is out already" in await it.notes()
    assert (await it.deal()).stage == "Contract Sent"
    assert "https://sign.example.com/early" in (await it.run.messages())[-1].text


async def test_p6_11_the_day_itself_asks_to_close_and_renew(kit: Kit) -> None:
    it = await renewal(kit, 4)
    await it.to(0)
    (task,) = [task for task in await it.run.tasks() if task.title == "Close the renewal"]
    assert "Check that the signed contract is on file" in task.body


@pytest.mark.parametrize(
    ("drops_after", "day", "missed"),
    [
        (75, "R-60", "confirm the CSM, assess the value, find the executive sponsor"),
        (
            50,
            "R-45",
            "confirm the CSM, assess the value, find the executive sponsor; "
            "schedule the QBR, prepare the ROI report, list expansion opportunities",
        ),
        (
            10,
            "R-7",
            "confirm the CSM, assess the value, find the executive sponsor; "
            "schedule the QBR, prepare the ROI report, list expansion opportunities; address their concerns",
        ),
    ],
)
async def test_p6_12_health_that_drops_later_joins_with_one_catch_up_task(
    kit: Kit, drops_after: int, day: str, missed: str
) -> None:
    it = await renewal(kit)
    await it.to(drops_after)
    await it.run.hear("health.scored", value="50")
    await it.to(0)
    assert CATCH_UP in (await it.calendar())[day]
    (task,) = [task for task in await it.run.tasks() if task.title == CATCH_UP[5:]]
    assert f"To catch up on:\n{missed}\n" in task.body


async def test_p6_12_health_that_recovers_leaves_the_overlay(kit: Kit) -> None:
    it = await renewal(kit, health=40)
    await it.to(89)
    await it.run.hear("health.scored", value="75")
    await it.to(29)
    calendar = await it.calendar()
    assert (calendar["R-90"], calendar["R-60"], calendar["R-30"]) == (
        OVERLAY["R-90"],
        BASE["R-60"],
        BASE["R-30"],
    )


PREPARE = "120 days before: Gather date, term, contacts, usage and health; nothing goes to the customer."
CALL = "60 days before: Hold the kickoff call and review the value."
LATE = "its day was past when the run began"


async def test_p6_13_started_95_days_before_only_the_preparation_is_left_out(kit: Kit) -> None:
    it = await renewal(kit, 95)
    await it.run.finish()
    assert await it.calendar() == {day: lines for day, lines in BASE.items() if day != "R-120"}
    assert await it.run.left_out() == {PREPARE: LATE}


async def test_p6_13_started_50_days_before_the_90_day_set_is_done_at_once(kit: Kit) -> None:
    it = await renewal(kit, 50, health=40)
    await it.run.finish()
    past = ("R-120", "R-90", "R-60", "R-55")
    assert await it.calendar() == {
        "D+0": OVERLAY["R-90"],
        **{day: lines for day, lines in OVERLAY.items() if day not in past},
    }
    assert await it.run.left_out() == {
        PREPARE: LATE,
        "60 days before: Hold the kickoff call and review the value.": LATE,
    }
    (kickoff,) = [task for task in await it.run.tasks() if task.title == "Renewal Kickoff"]
    assert kickoff.due_at - kickoff.opened_at == DAY


async def test_p6_13_started_6_days_before_the_contract_still_goes_out(kit: Kit) -> None:
    it = await renewal(kit, 6)
    await it.run.finish()
    assert await it.calendar() == {
        "D+0": BASE["R-90"],
        "D+0.83": BASE["R-7"],
        **{day: BASE[day] for day in ("R-3", "R+0", "R+30")},
    }
    assert list((await it.run.left_out()).values()) == [LATE] * 5


async def test_p6_14_each_milestone_moves_the_deal(kit: Kit) -> None:
    it = await renewal(kit)
    stages = {}
    for day in (90, 60, 45, 30, 14, 7):
        await it.to(day)
        stages[day] = (await it.deal()).stage
    assert stages == {
        90: "Renewal Due",
        60: "Kickoff",
        45: "Terms",
        30: "Negotiation",
        14: "Final Terms",
        7: "Contract Sent",
    }
    assert (await it.run.row()).stage == "Contract Sent"
    await it.run.finish()
    assert (await it.deal()).stage == "Lost"


async def test_p6_15_the_deals_fields(kit: Kit) -> None:
    it = await renewal(kit, 92, value=2_400_050, currency="eur", term="biennial")
    await it.to(90)
    deal = await it.deal()
    assert (deal.name, deal.account_id) == (f"Renewal - Acme - {it.renews_on.year}", it.run.account)
    assert (deal.value, deal.currency, deal.renewal_date) == (2_400_050, "eur", it.renews_on)
    assert (deal.contract_term, deal.expansion_potential) == ("biennial", "")


async def test_p6_19_moved_later_what_is_left_moves_with_it(kit: Kit) -> None:
    it = await renewal(kit, 50)
    await it.to(44)
    later = it.renews_on + timedelta(days=20)
    await it.run.hear("renewal_date.changed", subject=it.contract, value=later.isoformat())
    await it.run.finish()
    it.renews_on = later
    calendar = await it.calendar()
    assert {day: calendar[day] for day in ("R-65", "R-30", *LAST)} == {
        "R-65": BASE["R-45"],
        "R-30": BASE["R-30"],
        **LAST,
    }
    deal = await it.deal()
    assert (deal.renewal_date, deal.name) == (later, f"Renewal - Acme - {later.year}")


async def test_p6_19_moved_earlier_milestones_left_behind_are_left_out_and_the_date_is_shown(kit: Kit) -> None:
    it = await renewal(kit, 122)
    await it.to(89)
    sooner = it.renews_on - timedelta(days=50)
    await it.run.hear("renewal_date.changed", subject=it.contract, value=sooner.isoformat())
    it.renews_on = sooner
    await it.to(29)
    attributes = (await it.kit.place.run(it.run.case).describe()).typed_search_attributes
    assert attributes[DATE] == datetime.combine(sooner, time(), UTC)
    await it.run.finish()
    assert await it.run.left_out() == {
        CALL: "its day was past when the date was moved",
        "45 days before: Discuss pricing and terms.": "its day was past when the date was moved",
    }
    calendar = await it.calendar()
    assert {day: lines for day, lines in calendar.items() if day not in ("R-70", "R-40")} == {
        "R-30": BASE["R-30"],
        "R-25": BASE["R-25"],
        **LAST,
    }


async def test_p6_19_moved_into_the_last_week_the_contract_goes_out_at_once(kit: Kit) -> None:
    it = await renewal(kit, 40)
    await it.run.to_day(2)
    sooner = kit.today() + timedelta(days=8)
    await it.run.hear("renewal_date.changed", subject=it.contract, value=sooner.isoformat())
    it.renews_on = sooner
    await it.run.to_day(3)
    assert [mail.template for mail in await it.run.messages()] == ["renewal.contract"]


async def test_p6_20_who_owns_what(kit: Kit) -> None:
    it = await renewal(kit, health=40)
    await it.run.finish()
    owners: dict[str, set[str]] = {}
    for task in await it.run.tasks():
        owners.setdefault(task.owner, set()).add(task.title)
    assert owners == {
        "ana": {"Prepare the renewal", "Close the renewal"}
        | {line[5:] for line in (KICKOFF, ASSESS, REVIEW, QBR, ROI, PRICING, NEGOTIATE, CONCERNS)},
        "csm-lead": {"The contract is not signed"}
        | {f"Overdue: {line[5:]}" for line in (REVIEW, QBR, PRICING, NEGOTIATE)},
        "account-executive": {"The contract is not signed"},
        "executive": {"Align executives on the final terms", "Unsigned on the renewal date"},
    }


@pytest.mark.parametrize(
    ("kit_with", "days"),
    [
        ({"renewal": {"contract_day": 10}}, {"R-10": BASE["R-7"]}),
        ({"renewal": {"escalate_days": [5, 1]}}, {"R-5": BASE["R-3"], "R-1": BASE["R+0"]}),
        ({"renewal": {"grace_days": 10}}, {"R+10": BASE["R+30"]}),
        ({"renewal": {"risk_health": 90}}, {"R-30": OVERLAY["R-30"]}),
        ({"renewal": {"negotiate_day": 28, "final_terms_day": 20}}, {"R-28": BASE["R-30"], "R-20": BASE["R-14"]}),
        ({"people": {"task_timeout_days": 2}}, {"R-28": BASE["R-25"]}),
        ({"segment": {"mid": {"renewal": {"contract_day": 9}}}}, {"R-9": BASE["R-7"]}),
    ],
    indirect=["kit_with"],
)
async def test_p6_10_p0_15_the_milestones_are_policy(kit_with: Kit, days: dict[str, list[str]]) -> None:
    it = await renewal(kit_with, 40)
    await it.run.finish()
    calendar = await it.calendar()
    assert {day: calendar.get(day) for day in days} == days


@pytest.mark.parametrize(
    ("kit_with", "days"),
    [
        (
            {"renewal": {"prepare_day": 121, "deal_day": 80, "review_day": 70, "pricing_day": 50}},
            {"R-121": BASE["R-120"], "R-80": BASE["R-90"], "R-70": BASE["R-60"], "R-50": BASE["R-45"]},
        )
    ],
    indirect=["kit_with"],
)
async def test_p6_2_p6_3_the_early_milestones_are_policy(kit_with: Kit, days: dict[str, list[str]]) -> None:
    it = await renewal(kit_with, 123)
    await it.to(46)
    calendar = await it.calendar()
    assert {day: calendar.get(day) for day in days} == days


async def test_p6_17_a_lapsed_renewal_is_a_customer_who_left_and_win_back_begins(kit: Kit) -> None:
    it = await renewal(kit, 5)
    await it.run.finish()
    (account,) = await kit.place.rows(Account, id=it.run.account)
    assert (account.churned_at is not None, account.churn_reason) == (True, "unsigned")
    (told,) = await kit.place.rows(InboxEvent, kind="renewal.lapsed", account_id=it.run.account)
    assert told.reason.startswith(f"started win-back/{it.contract}/")
