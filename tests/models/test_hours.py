"""Working hours where the reader is (P0.17): both ends, zones of half an hour, changes of clocks, nights, holidays."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.cases import Banner
from models.database import Database
from models.gate import Held
from models.hours import NeverOpen, Window, country_of, instant, spread, window_of
from models.policy import Hours, Policy, PolicyError, PolicyFile
from models.tables import Account
from tests.models.gate_kit import ACCOUNT, asked, case_of, deferrals, mail, people, said

EVERY_DAY = frozenset(range(7))
ZONES = ("Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia")


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def window(zone: str, opens: str = "09:00", closes: str = "17:00", days: frozenset[int] = EVERY_DAY) -> Window:
    return Window(ZoneInfo(zone), "", time.fromisoformat(opens), time.fromisoformat(closes), days)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("clock", "opens"),
    [
        ("2026-11-24 08:59:59.999999", "2026-11-24 09:00"),
        ("2026-11-24 09:00", "2026-11-24 09:00"),
        ("2026-11-24 16:59:59.999999", "2026-11-24 16:59:59.999999"),
        ("2026-11-24 17:00", "2026-11-25 09:00"),
        ("2026-11-27 17:00", "2026-11-30 09:00"),
        ("2026-11-28 12:00", "2026-11-30 09:00"),
    ],
)
def test_p0_17_nine_belongs_to_the_day_and_five_does_not(zone: str, clock: str, opens: str) -> None:
    weekdays = window(zone, days=frozenset(range(5)))
    assert weekdays.next_open(at(clock, zone)) == at(opens, zone)
    assert weekdays.is_open(at(clock, zone)) == (clock == opens)


def test_p0_17_half_hour_zones_open_at_their_own_nine() -> None:
    assert window("Asia/Kolkata").next_open(at("2026-11-24 00:00")) == at("2026-11-24 03:30")
    assert window("Asia/Kathmandu").next_open(at("2026-11-24 00:00")) == at("2026-11-24 03:15")
    assert window("Australia/Adelaide").next_open(at("2026-11-24 07:00")) == at("2026-11-24 22:30")


@pytest.mark.parametrize(
    ("opens", "closes", "clock", "expected"),
    [
        # 02:00 to 03:00 is skipped on 29 March, and 02:00 to 03:00 comes twice on 25 October (Berlin).
        ("02:30", "06:00", "2026-03-29 00:30", "2026-03-29 01:00"),
        ("00:00", "02:30", "2026-03-29 00:59:59", "2026-03-29 00:59:59"),
        ("00:00", "02:30", "2026-03-29 01:00", "2026-03-29 22:00"),
        ("02:10", "02:50", "2026-03-28 23:30", "2026-03-30 00:10"),
        ("02:30", "06:00", "2026-10-25 00:00", "2026-10-25 00:30"),
        ("00:00", "02:30", "2026-10-25 00:29:59", "2026-10-25 00:29:59"),
        ("00:00", "02:30", "2026-10-25 00:30", "2026-10-25 23:00"),
        ("09:00", "17:00", "2026-03-28 17:00", "2026-03-29 07:00"),
        ("09:00", "17:00", "2026-10-24 17:00", "2026-10-25 08:00"),
    ],
)
def test_p0_17_at_both_changes_of_clocks(opens: str, closes: str, clock: str, expected: str) -> None:
    assert window("Europe/Berlin", opens, closes).next_open(at(clock)) == at(expected)


def test_p0_17_a_window_over_midnight_belongs_to_the_day_it_opens_on() -> None:
    nights = window("America/New_York", "22:00", "06:00", frozenset({4}))
    friday = at("2026-11-27 22:00", "America/New_York")
    assert nights.next_open(at("2026-11-27 05:00", "America/New_York")) == friday
    assert nights.is_open(at("2026-11-28 05:59", "America/New_York"))
    assert nights.next_open(at("2026-11-28 06:00", "America/New_York")) == friday + timedelta(days=7)
    assert not nights.is_open(at("2026-11-28 22:30", "America/New_York"))


def test_p0_17_a_window_that_ends_where_it_begins_is_a_whole_day() -> None:
    whole = window("Europe/Berlin", "00:00", "00:00", frozenset({0}))
    assert whole.is_open(at("2026-11-23 23:59", "Europe/Berlin"))
    assert whole.next_open(at("2026-11-24 00:00", "Europe/Berlin")) == at("2026-11-30 00:00", "Europe/Berlin")


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", "2026-10-03"),
        ("Europe/Berlin", "2026-12-25"),
        ("America/New_York", "2026-07-03"),
        ("America/New_York", "2026-11-26"),
        ("Asia/Kolkata", "2026-01-26"),
        ("Europe/London", "2026-12-28"),
    ],
)
def test_p0_17_on_public_holidays_of_the_reader_s_country_nothing_goes(zone: str, day: str) -> None:
    theirs = window_of(Hours(), zone)
    assert not theirs.is_open(at(f"{day} 12:00", zone))
    assert theirs.next_open(at(f"{day} 12:00", zone)).astimezone(theirs.zone).time() == time(9)


def test_p0_17_the_contact_s_zone_goes_before_the_account_s_and_that_before_the_company_s() -> None:
    rules = Hours(zone="Europe/Paris", country="AT")
    assert window_of(rules, "Asia/Tokyo", "Europe/Berlin").zone.key == "Asia/Tokyo"
    assert window_of(rules, "", "Europe/Berlin").zone.key == "Europe/Berlin"
    assert window_of(rules, "Europe", "no/such/zone").zone.key == "Europe/Paris"
    assert (window_of(rules, "UTC").country, window_of(rules, "Asia/Tokyo").country) == ("AT", "JP")
    assert [country_of(zone) for zone in ("Europe/Vienna", "Asia/Kathmandu", "UTC", "Etc/GMT+5")] == [
        "AT",
        "NP",
        "",
        "",
    ]


def test_p0_17_a_date_that_a_zone_never_had_is_skipped() -> None:
    # Samoa went over the date line: after 29 December 2011 came the 31st.
    assert instant(date(2011, 12, 30), time(9), ZoneInfo("Pacific/Apia")) == at("2011-12-30 10:00")


def test_p0_17_hours_without_a_day_never_open() -> None:
    with pytest.raises(NeverOpen, match="no working day"):
        window("UTC", days=frozenset()).next_open(at("2026-11-24 12:00"))


@pytest.mark.parametrize(
    ("hours", "problem"),
    [
        ({"zone": "Mars/Base"}, "hours: zone 'Mars/Base' is no IANA time zone, such as Europe/Berlin"),
        ({"days": [7]}, r"hours: days \[7\]: some of 0 \(Monday\) to 6 \(Sunday\)"),
        ({"opens": "9"}, "hours.opens"),
        ({"country": "Germany"}, "hours.country"),
    ],
)
def test_p0_17_hours_that_cannot_be_are_refused(hours: dict[str, object], problem: str) -> None:
    with pytest.raises(PolicyError, match=problem):
        PolicyFile({"hours": hours})


@given(
    st.integers(0, 4 * 365 * 24 * 3600).map(lambda second: at("2025-01-01") + timedelta(seconds=second)),
    st.sampled_from(ZONES),
    st.times(),
    st.times(),
    st.frozensets(st.integers(0, 6), min_size=1),
)
def test_p0_17_the_next_opening_is_open_and_nothing_before_it_is(
    moment: datetime, zone: str, opens: time, closes: time, days: frozenset[int]
) -> None:
    some = Window(ZoneInfo(zone), "", opens, closes, days)
    following = some.next_open(moment)
    assert following >= moment
    assert some.is_open(following)
    assert following == moment or not some.is_open(following - timedelta(microseconds=1))


def test_p0_17_a_morning_is_spread_evenly_and_each_key_keeps_its_minute() -> None:
    delays = [spread(f"usage-decline/cus_{number}/d3/1", 60) for number in range(3_000)]
    assert delays == [spread(f"usage-decline/cus_{number}/d3/1", 60) for number in range(3_000)]
    in_each_quarter = [sum(each // timedelta(minutes=15) == quarter for each in delays) for quarter in range(4)]
    assert sum(in_each_quarter) == 3_000
    assert min(in_each_quarter) > 650
    assert spread("any", 0) == timedelta()


# The rule of the gate.

NIGHT = at("2026-11-24 02:00")


async def test_p0_17_a_mail_at_night_waits_for_the_morning_where_the_reader_is(both: Database) -> None:
    usage = await case_of(both, "usage-decline", now=NIGHT)
    async with both.writing() as session:
        session.add(Account(id=ACCOUNT, timezone="Europe/Berlin"))
    late = await asked(both, usage, mail(usage))
    nine = at("2026-11-24 09:00", "Europe/Berlin")
    until = nine + spread(mail(usage).key, 60)
    assert late == Held("hours", "Tue 24 Nov, 03:00 in Europe/Berlin is outside working hours", until)
    assert [(row.rule, row.until) for row in await deferrals(both)] == [("hours", until)]
    assert said(await asked(both, usage, mail(usage, 2), people(zone="Asia/Tokyo"))) == ("claimed", "contact_rules")
    there = until.astimezone(ZoneInfo("Europe/Berlin"))
    row = await asked(both, usage.model_copy(update={"now": until}), mail(usage), people("other@example.com"))
    assert (*said(row), row.reason) == (
        "claimed",
        "contact_rules",
        f"marketing, within caps and hours; {there:%a %d %b, %H:%M} in Europe/Berlin",
    )


async def test_p0_17_on_a_day_off_the_reason_says_so(both: Database) -> None:
    usage = await case_of(both, "usage-decline", now=at("2026-11-28 12:00"))
    held = await asked(both, usage, mail(usage), people(zone="Europe/Berlin"))
    assert (*said(held), held.reason) == ("waits", "hours", "Sat 28 Nov, 13:00 in Europe/Berlin is not a working day")


async def test_p0_17_the_first_billing_notice_goes_at_once_and_the_next_ones_in_the_morning(both: Database) -> None:
    payment = await case_of(both, "payment-failure", now=NIGHT)
    billing = {"marketing": False, "notice": "billing"}
    row = await asked(both, payment, mail(payment, 1, at_once=True, **billing))
    assert (*said(row), row.reason) == (
        "claimed",
        "required_notice",
        "a billing notice: no cap and no other playbook holds it back, said at once; Tue 24 Nov, 02:00 in UTC",
    )
    assert said(await asked(both, payment, mail(payment, 2, **billing))) == ("waits", "hours")


async def test_p0_17_thanks_and_banners_are_not_kept_for_the_morning(both: Database) -> None:
    payment = await case_of(both, "payment-failure", now=NIGHT)
    thanks = mail(payment, 1, marketing=False, notice="billing")
    assert said(await asked(both, payment, thanks, parting=True)) == ("claimed", "required_notice")
    banner = Banner(key=f"{payment.case}/step/2", title="Banner", template="dunning.banner", notice="billing")
    assert said(await asked(both, payment, banner)) == ("claimed", "required_notice")


async def test_p0_17_the_window_is_on_unless_the_policy_says_otherwise(both: Database) -> None:
    assert Policy().hours == Hours(enabled=True, opens="09:00", closes="17:00", days=(0, 1, 2, 3, 4))
    usage = await case_of(both, "usage-decline", now=NIGHT)
    off = Policy.model_validate({"hours": {"enabled": False}})
    assert said(await asked(both, usage, mail(usage), policy=off)) == ("claimed", "contact_rules")
