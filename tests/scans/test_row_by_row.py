"""The scan's SQL and `models/usage.py` say the same of any account, on both databases (P3.1 to P3.4)."""

from datetime import UTC, datetime, time, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlmodel import col

from activities import falling_usage
from models import usage
from models.customers import UsageDay
from models.database import Database
from models.policy import Usage
from models.tables import Account
from tests.scans.customers import DAY, TODAY

METRICS = ("activity", "login", "report", "feature:export")
RULES = st.builds(
    Usage,
    metric=st.sampled_from(("activity", "login")),
    report_metric=st.sampled_from(("report", "activity")),
    window_days=st.sampled_from((1, 7, 14, 30)),
    moderate_pct=st.sampled_from((1, 30, 50)),
    severe_pct=st.sampled_from((50, 99, 100)),
    min_baseline=st.sampled_from((1, 10)),
    min_tenure_days=st.sampled_from((0, 28)),
    few_logins=st.sampled_from((0, 5)),
)
# Days close to where a window begins or ends, and few counts, so that exact halves and thirds are common.
BACK = st.sampled_from((0, 1, 7, 8, 13, 14, 15, 28, 29, 30, 31, 60, 61, 100, 101))
COUNTS = st.dictionaries(
    st.tuples(st.sampled_from(METRICS), BACK), st.sampled_from((0, 1, 5, 6, 7, 10, 20)), max_size=12
)
ACCOUNTS = st.lists(st.tuples(COUNTS, st.sampled_from((None, 0, 27, 28, 400))), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACCOUNTS, RULES, st.sampled_from((0, 1, 20)))
async def test_p3_1_to_p3_4_every_account_is_judged_as_by_hand(
    both: Database, accounts: list[tuple[dict[tuple[str, int], int], int | None]], rules: Usage, ago: int
) -> None:
    day = TODAY - DAY * ago
    midnight = datetime.combine(day, time(), UTC)
    signed_up = {
        f"a{number}": None if tenure is None else midnight - timedelta(days=tenure, seconds=number % 2)
        for number, (_, tenure) in enumerate(accounts)
    }
    counts = {
        f"a{number}": {(metric, TODAY - DAY * back): count for (metric, back), count in said.items()}
        for number, (said, _) in enumerate(accounts)
    }
    async with both.writing() as session:
        await session.exec(delete(UsageDay))
        await session.exec(delete(Account))
        session.add_all(Account(id=name, signed_up_at=at) for name, at in signed_up.items())
        session.add_all(
            UsageDay(account_id=name, metric=metric, day=on, count=count)
            for name, said in counts.items()
            for (metric, on), count in said.items()
        )
    everybody = col(Account.id) != ""
    async with both.reading() as session:
        judged = await falling_usage.judged(session, day, rules, everybody)
        severities = await falling_usage.severities(session, day, rules, everybody)
    for name, at in signed_up.items():
        tenure = None if at is None else (midnight - at).days
        severity = usage.severity(counts[name], day, rules, tenure)
        signs = usage.watch_only(counts[name], day, rules)
        said = judged.get(name, falling_usage.Judged("", ()))
        assert (said.severity, said.signs) == (severity, signs)
        assert severities.get(name, "") == severity
