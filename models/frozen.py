"""The base of every value that crosses a process boundary."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value. Fields it does not know are passed over: a payload may have been written by newer code."""

    model_config = ConfigDict(frozen=True, extra="ignore")
