"""Errors the pretend Stripe answers with."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A Stripe error answer.

    `status` is the HTTP status; `fields` become the members of {"error": {...}}. `executed` tells whether the call
    had begun to run: only then is the answer kept under the idempotency key.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        executed: bool = False,
        **fields: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        self.fields: dict[str, Any] = {"type": kind, "message": message, **fields}

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {"error": self.fields}


def missing(kind: str, identifier: str, param: str = "id") -> ApiError:
    """404: there is no such object."""
    return ApiError(404, f"No such {kind}: '{identifier}'", code="resource_missing", param=param)


def not_modelled(what: str) -> ApiError:
    """501: real Stripe knows this, the simulator does not."""
    return ApiError(501, f"simulator does not model {what}", kind="api_error")
