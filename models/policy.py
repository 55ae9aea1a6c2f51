"""Every threshold, day and cap, in one frozen tree; a TOML file overrides it (P0.15).

[dunning]
restrict_day = 10

[segment.enterprise.dunning]
suspend_day = 45
"""

import hashlib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from models.frozen import Frozen


class PolicyError(ValueError):
    """The policy file cannot be used; the message says which key and why."""


class Dunning(Frozen):
    """Payment failure (P1). Days count from the failure; day 0 is the day itself."""

    mode: Literal["own", "observe"] = "own"
    """`own`: we retry, and the provider's retries are switched off. `observe`: the provider retries, we only speak."""
    retry_days: tuple[int, ...] = (0, 3, 7)
    day0_retry_delay_h: int = Field(1, ge=0, le=23)
    email_days: tuple[int, int, int, int, int] = (0, 3, 7, 10, 14)
    """The five mails: notice, reminder, urgent, last call, final notice (P1.3 to P1.7)."""
    call_day: int = 8
    """The first day that is more than seven days late: the CSM is asked to call (P1.15)."""
    restrict_day: int = 14
    suspend_day: int = 30
    hard_cancel_day: int | None = 30
    currencies: tuple[str, ...] = ()
    """Only these currencies are dunned; empty means all (P1.1)."""
    min_amount: int = Field(0, ge=0)
    """Invoices below this (minor unit) are left alone (P1.1)."""

    def problems(self) -> list[str]:
        """What does not hold together. Asked of a policy file, not of a payload: sleeping runs keep their old rules."""
        found = []
        days = self.retry_days
        if not 3 <= len(days) <= 5:
            found.append(f"retry_days {list(days)}: a soft decline gets 3 to 5 attempts (P1.11)")
        elif list(days) != sorted(set(days)) or days[0] < 0:
            found.append(f"retry_days {list(days)}: must rise, without repeats, from day 0 on")
        elif not 7 <= days[-1] <= 10:
            found.append(f"retry_days {list(days)}: the last attempt belongs on day 7 to 10 (P1.11)")
        elif not days[-1] <= self.restrict_day < self.suspend_day:
            found.append(
                f"restrict_day {self.restrict_day} must come after the last retry (day {days[-1]}) "
                f"and before suspend_day {self.suspend_day} (P1.16)"
            )
        if list(self.email_days) != sorted(set(self.email_days)):
            found.append(f"email_days {list(self.email_days)}: must rise, without repeats")
        if self.hard_cancel_day is not None and self.hard_cancel_day < self.suspend_day:
            found.append(f"hard_cancel_day {self.hard_cancel_day} comes before suspend_day {self.suspend_day}")
        return found


class People(Frozen):
    """Who is asked when an account has nobody."""

    csm_lead: str = "csm-lead"
    high_value_mrr: int = 200_000
    """Monthly revenue (minor unit) above which an account is high-value (P0.16)."""


class Company(Frozen):
    """What mails say of us."""

    name: str = "Holdfast Demo Inc."
    product: str = "Holdfast Demo"
    postal_address: str = "1 Example Street, Example City"
    support_email: str = "support@example.com"
    from_email: str = "billing@example.com"


class Policy(Frozen):
    """The whole tree. What a run needs of it is frozen into its input at the start."""

    version: str = "default"
    dunning: Dunning = Dunning()
    people: People = People()
    company: Company = Company()


class PolicyFile:
    """A policy with overrides by segment."""

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        data = dict(data or {})
        self._segments: dict[str, Any] = data.pop("segment", {})
        if not isinstance(self._segments, dict):
            raise PolicyError("policy: [segment.NAME] must be a table")
        text = repr(sorted(data.items())) + repr(sorted(self._segments.items()))
        self._version = hashlib.sha256(text.encode()).hexdigest()[:12] if data or self._segments else "default"
        self._base = data
        self.default = self._validated(data, "")
        for name, over in self._segments.items():
            if not isinstance(over, dict):
                raise PolicyError(f"policy: segment.{name} must be a table, not {over!r}")
        self._by_segment = {
            name: self._validated(_merged(data, over), f"segment.{name}.") for name, over in self._segments.items()
        }

    def _validated(self, data: dict[str, Any], where: str) -> Policy:
        try:
            policy = Policy.model_validate({"version": self._version, **data})
            wrong = [f"{where}{key}: there is no such key" for key in _unknown(data, Policy)]
            wrong += [f"{where}dunning: {problem}" for problem in policy.dunning.problems()]
        except ValidationError as error:
            problems = "; ".join(
                f"{where}{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()
            )
            raise PolicyError(f"policy: {problems}") from None
        if wrong:
            raise PolicyError(f"policy: {'; '.join(wrong)}")
        return policy

    def for_segment(self, segment: str) -> Policy:
        """The policy for a segment; accounts of an unnamed or unknown segment get the default."""
        return self._by_segment.get(segment, self.default)

    @classmethod
    def read(cls, path: Path | None) -> "PolicyFile":
        """Read a TOML file; no path means the defaults. Raises `PolicyError` with the key and the reason."""
        if path is None:
            return cls()
        try:
            return cls(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise PolicyError(f"policy: there is no file {path}") from None
        except OSError as error:
            raise PolicyError(f"policy: {path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PolicyError(f"policy: {path} is not valid TOML: {error}") from None


def _unknown(data: dict[str, Any], model: type[BaseModel], path: str = "") -> list[str]:
    """The keys of a file that no field takes, as dotted paths."""
    found = []
    for key, value in data.items():
        field = model.model_fields.get(key)
        if field is None:
            found.append(f"{path}{key}")
        elif isinstance(value, dict) and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _unknown(value, field.annotation, f"{path}{key}.")
    return found


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if both else value
    return out
