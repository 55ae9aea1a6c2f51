"""Business days: they are UTC, so no zone and no change of clocks."""

from datetime import UTC, date, datetime, time


def midnight(day: date) -> datetime:
    """The first moment of a day, UTC."""
    return datetime.combine(day, time(), UTC)
