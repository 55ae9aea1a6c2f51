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


def with_password(url: str, password: str) -> str:
    """The URL with a password that stands elsewhere, such as in a container's secret.

    Raises:
        BadDatabaseUrl: not a URL, it has a password already, or SQLite, which has none.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadDatabaseUrl(f"DATABASE_URL {url!r} is not a URL; for example {DEFAULT_URL}") from None
    if parsed.drivername.startswith("sqlite"):
        raise BadDatabaseUrl("DATABASE_PASSWORD is set, but DATABASE_URL names SQLite, which has no passwords")
    if parsed.password is not None:
        raise BadDatabaseUrl("DATABASE_URL and DATABASE_PASSWORD both hold a password: leave one out")
    return parsed.set(password=password).render_as_string(hide_password=False)
