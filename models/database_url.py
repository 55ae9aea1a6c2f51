"""DATABASE_URL as people write it. Without the database itself, so that reading settings stays quick."""

DEFAULT_URL = "sqlite:///.holdfast/holdfast.db"


class BadDatabaseUrl(ValueError):
    """DATABASE_URL cannot be used; the message says what to write instead."""


def async_url(url: str) -> str:
    """The URL with the driver we use.

    Raises:
        BadDatabaseUrl: neither SQLite nor PostgreSQL, or not a URL at all.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadDatabaseUrl(f"DATABASE_URL {url!r} is not a URL; for example {DEFAULT_URL}") from None
    family = parsed.drivername.split("+")[0]
    if family == "sqlite":
        return parsed.set(drivername="sqlite+aiosqlite").render_as_string(hide_password=False)
    if family in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    raise BadDatabaseUrl(f"DATABASE_URL names {family!r}; Holdfast runs on sqlite and postgresql")
