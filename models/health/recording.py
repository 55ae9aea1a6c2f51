"""Readings of an account's metrics, put on record: the newest of each stays (ledger H0, T1.20)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from models import ledger
from models.health.metrics import metric_named
from models.health.rows import AccountMetrics


def checked(values: Mapping[str, Any]) -> dict[str, int | float | str]:
    """The values as they are stored.

    Raises:
        BadMetric: a name is not that of a metric, or a value is not one it may have.
    """
    metrics = {name: metric_named(name) for name in values}
    return {name: metric.said(metric.reading(values[name])) for name, metric in metrics.items()}


async def record_metrics(session: AsyncSession, account_id: str, values: Mapping[str, Any], at: datetime) -> list[str]:
    """Put readings of that moment on record; the metrics that are another now. An older reading changes nothing.

    Raises:
        BadMetric: a name is not that of a metric, or a value is not one it may have. Nothing is recorded then.
    """
    new = checked(values)
    moment = at.astimezone(UTC).isoformat()
    await ledger.insert_once(session, AccountMetrics(account_id=account_id))
    row = await session.get_one(AccountMetrics, account_id, with_for_update=True, populate_existing=True)
    taken = [name for name in new if _when(row.told_at.get(name)) <= at]
    changed = [name for name in taken if row.readings.get(name) != new[name]]
    if taken:
        # New dictionaries: the database is not told of changes inside one.
        row.readings = {**row.readings, **{name: new[name] for name in taken}}
        row.told_at = {**row.told_at, **dict.fromkeys(taken, moment)}
        session.add(row)
    return changed


def _when(said: str | None) -> datetime:
    return datetime.fromisoformat(said) if said else datetime.min.replace(tzinfo=UTC)
