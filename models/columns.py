"""What may be loaded of accounts, contacts, contracts, owners and use: one row each, by API, CSV or Segment alike.

A field's description says what is allowed; it stands in every error about it. Fields that are not given stay as they
are in the database.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from models.segments import SEGMENTS
from models.zones import zone_named

SHOWN: Final = 60
MOST_MONEY: Final = 10**15


class Loadable(BaseModel):
    """A row to load."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


def _one_line(value: Any) -> Any:
    # People press Enter inside a cell; a line break must never reach the subject of a mail.
    return " ".join(value.split()) if isinstance(value, str) else value


def _address(text: str) -> str:
    name, at, domain = text.rpartition("@")
    if text and (not at or not name or "." not in domain or " " in text):
        raise ValueError("no address")
    return text


def _zone(text: str) -> str:
    if text and not zone_named(text):
        raise ValueError("no zone")
    return text


def _web(text: str) -> str:
    if text and not text.startswith(("https://", "http://")):
        raise ValueError("no URL")
    return text


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _none(value: Any) -> Any:
    return None if value == "" else value


def _no_flag(value: Any) -> Any:
    # `true` for a number is a mistake of the sender, though Python would take it for 1.
    if isinstance(value, bool):
        raise ValueError("a truth value")
    return value


def _text_only(value: Any) -> Any:
    # A number would be taken for seconds since 1970.
    if value is not None and not isinstance(value, str | date):
        raise ValueError("not text")
    return value


def _day(value: Any) -> Any:
    value = _text_only(value)
    if isinstance(value, str):
        return date.fromisoformat(value.strip())
    return value


def _maybe_day(value: Any) -> Any:
    return None if value in ("", None) else _day(value)


def _segments(text: str) -> str:
    if set(text.replace(",", " ").split()) - set(SEGMENTS):
        raise ValueError("no segment")
    return text


def _moment(value: Any) -> Any:
    value = _text_only(value)
    if isinstance(value, str) and value:
        moment = datetime.fromisoformat(value.strip())
        # Raises OverflowError at the ends of the calendar.
        try:
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except OverflowError:
            raise ValueError("outside the calendar") from None
    return _none(value)


Id = Annotated[
    str, AfterValidator(_printable), Field(min_length=1, max_length=255, description="1 to 255 printable characters")
]
OtherId = Annotated[
    Annotated[str, AfterValidator(_printable), Field(min_length=1, max_length=255)] | None,
    BeforeValidator(_none),
    Field(description="1 to 255 printable characters, or nothing"),
]
Text = Annotated[
    str,
    BeforeValidator(_one_line),
    AfterValidator(_printable),
    Field(max_length=255, description="at most 255 printable characters"),
]
Email = Annotated[
    str,
    AfterValidator(_printable),
    AfterValidator(_address),
    Field(max_length=254, description="an address such as zoe@example.com"),
]
Zone = Annotated[str, AfterValidator(_zone), Field(max_length=64, description="a time zone such as Europe/Berlin")]
Locale = Annotated[
    str, Field(pattern=r"^([A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*)?$", description="a language such as de or pt-BR")
]
Currency = Annotated[
    str, BeforeValidator(_lower), Field(pattern=r"^[a-z]{3}$", description="three letters such as usd")
]
Money = Annotated[
    int,
    BeforeValidator(_no_flag),
    Field(ge=0, le=MOST_MONEY, description="a whole number in the minor unit (cents), 0 or more"),
]
Health = Annotated[
    Annotated[int, Field(ge=0, le=100)] | None,
    BeforeValidator(_none),
    BeforeValidator(_no_flag),
    Field(description="a whole number from 0 to 100"),
]
Flag = Annotated[bool, Field(description="true or false")]
Day = Annotated[date, BeforeValidator(_day), Field(description="a date such as 2027-03-01")]
MaybeDay = Annotated[
    date | None, BeforeValidator(_maybe_day), Field(description="a date such as 2027-03-01, or nothing")
]
Moment = Annotated[
    datetime | None,
    BeforeValidator(_moment),
    Field(description="a date or time such as 2027-03-01 or 2027-03-01T09:30:00Z; UTC where no zone is given"),
]
WebPage = Annotated[
    str,
    AfterValidator(_printable),
    AfterValidator(_web),
    Field(max_length=2000, description="a web address that starts with https://"),
]


class AccountColumns(Loadable):
    """A customer. `id` is the billing provider's, `external_id` what our product calls it."""

    id: Id
    external_id: OtherId = None
    name: Text = ""
    company: Text = ""
    email: Email = ""
    locale: Locale = ""
    timezone: Zone = ""
    owner: Text = ""
    segment: Text = ""
    strategic: Flag = False
    growth: Flag = False
    owner_held: Flag = False
    mrr: Money = 0
    currency: Currency = "usd"
    plan: Text = ""
    health: Health = None
    signed_up_at: Moment = None
    churned_at: Moment = None
    churn_reason: Text = ""
    opted_out_at: Moment = None


Role = Literal["billing", "champion", "sponsor", "technical", "admin"]


class ContactColumns(Loadable):
    """A person at a customer. `account_id` may be either name of the account; it is needed for a new contact."""

    id: Id
    account_id: Id = ""
    role: Annotated[
        Role, BeforeValidator(_lower), Field(description="billing, champion, sponsor, technical or admin")
    ] = "champion"
    name: Text = ""
    email: Email = ""
    locale: Locale = ""
    timezone: Zone = ""
    left_at: Moment = None
    opted_out_at: Moment = None


class ContractColumns(Loadable):
    """What an account has signed. `account_id` and `renews_on` are needed for a new contract."""

    id: Id
    account_id: Id = ""
    renews_on: Day = date.min
    term: Text = "annual"
    value: Money = 0
    currency: Currency = "usd"
    plan: Text = ""
    state: Annotated[
        Literal["active", "sent", "signed", "lost"],
        BeforeValidator(_lower),
        Field(description="active, sent, signed or lost"),
    ] = "active"
    sign_url: WebPage = ""


class OwnerColumns(Loadable):
    """Somebody of ours. `handle` is what accounts, tasks and runs name them by."""

    handle: Id
    name: Text = ""
    email: Email = ""
    phone: Text = ""
    booking_url: WebPage = ""
    role: Text = "csm"
    serves: Annotated[
        Text, AfterValidator(_segments), Field(description="some of starter, mid, enterprise, with spaces between")
    ] = ""
    capacity: Annotated[
        Annotated[int, Field(ge=0, le=100_000)] | None,
        BeforeValidator(_none),
        BeforeValidator(_no_flag),
        Field(description="a whole number of accounts, 0 or more, or nothing"),
    ] = None
    away_from: MaybeDay = None
    away_until: MaybeDay = None
    covered_by: Text = ""
    left_on: MaybeDay = None


class UsageColumns(Loadable):
    """How often an account did something on one day (UTC). The count replaces what was there."""

    account: Id
    metric: Annotated[
        str, AfterValidator(_printable), Field(min_length=1, max_length=100, description="1 to 100 characters")
    ]
    day: Day
    count: Annotated[int, BeforeValidator(_no_flag), Field(ge=0, le=10**12, description="a whole number, 0 or more")]


class MetricColumns(Loadable):
    """A reading of one health metric (docs/health.md). Of each metric the newest stays; without `at` it is read now."""

    account: Id
    metric: Id
    value: Text
    at: Moment = None


class Problem(ValueError):
    """One field that cannot be taken: its name, and a sentence with what was wrong and what is allowed."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class BadRow(ValueError):
    """A row that cannot be loaded; `problems` has one entry for each field that is wrong."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(str(each) for each in problems))
        self.problems = problems


def read_row(kind: type[Loadable], values: Mapping[str, Any]) -> Any:
    """The row in these values.

    Raises:
        BadRow: a field is unknown, missing, or not what is allowed.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise BadRow(*problems_of(kind, error)) from None


def read_what_fits(kind: type[Loadable], values: Mapping[str, Any]) -> tuple[Any, list[Problem]]:
    """The row without the fields that cannot be taken, and what was wrong with them.

    Raises:
        BadRow: the row cannot be taken without one of them.
    """
    try:
        return kind.model_validate(dict(values)), []
    except ValidationError as error:
        problems = problems_of(kind, error)
    wrong = {each.field for each in problems}
    return read_row(kind, {name: value for name, value in values.items() if name not in wrong}), problems


def problems_of(kind: type[Loadable], error: ValidationError) -> list[Problem]:
    """What is wrong, one entry for each field: what was given, and what is allowed."""
    found: dict[str, Problem] = {}
    for each in error.errors(include_url=False, include_context=False):
        name = str(each["loc"][0]) if each["loc"] else ""
        field = kind.model_fields.get(name)
        if field is None:
            reason = f"there is no such field; there are {', '.join(kind.model_fields)}"
        elif each["type"] == "missing":
            reason = f"is missing; expected {field.description}"
        else:
            reason = f"is {_shown(each['input'])}; expected {field.description}"
        found.setdefault(name, Problem(name[:SHOWN], reason))
    return list(found.values())


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
