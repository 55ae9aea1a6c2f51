"""Time zones by their name."""

from functools import lru_cache
from zoneinfo import ZoneInfo


@lru_cache(1024)
def zone_named(name: str) -> ZoneInfo | None:
    """The IANA zone of this name; None where there is none."""
    # ZoneInfo itself raises many kinds of errors for names that are paths, folders or too long.
    try:
        return ZoneInfo(name) if name else None
    except (ValueError, OSError, LookupError):
        return None
