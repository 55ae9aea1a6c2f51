"""Secrets from files: NAME_FILE=/run/secrets/name beside NAME, for every secret alike, as containers hand them out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

SUFFIX: Final = "_file"


class BadSecretFile(ValueError):
    """A file that should hold a secret does not; the message has a sentence for each."""


def secrets_of(settings: type[BaseSettings]) -> tuple[str, ...]:
    """The fields that may be read from a file: all that are never printed."""
    return tuple(name for name, field in settings.model_fields.items() if field.annotation is SecretStr)


class SecretFiles(PydanticBaseSettingsSource):
    """Reads each secret whose NAME_FILE is set, in `environment` (names in lower case) or as an argument.

    Line breaks and spaces around the secret are no part of it: `echo` and editors leave them.
    """

    def __init__(self, settings_cls: type[BaseSettings], environment: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._environment = environment

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not used: all fields are read at once, so that every bad file is named."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The secrets that files hold.

        Raises:
            BadSecretFile: a file cannot be read, is empty, or its secret is given directly as well.
        """
        found: dict[str, str] = {}
        problems: list[str] = []
        given = self.current_state
        for name in secrets_of(self.settings_cls):
            if name in given:
                continue
            path = given.get(name + SUFFIX) or self._environment.get(name + SUFFIX)
            if not path:
                continue
            label = (name + SUFFIX).upper()
            if self._environment.get(name):
                problems.append(f"{name.upper()} and {label} are both set: leave one empty")
                continue
            try:
                found[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{label}: {path} cannot be read ({type(error).__name__})")
                continue
            # Somebody's mistake: it must not switch encryption, a password or a check off.
            if not found[name]:
                problems.append(f"{label}: {path} is empty")
        if problems:
            raise BadSecretFile("; ".join(problems))
        return found
