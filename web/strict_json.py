"""JSON from strangers: an object, of bounded depth, with numbers a machine can hold."""

import math
from typing import Any, Final

import orjson

DEEPEST: Final = 32
LARGEST_INT: Final = 2**63 - 1


class BadJson(ValueError):
    """Not JSON we take; the message says why and is safe to send back."""


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object strictly: UTF-8, no NaN, no deep nesting, no integers beyond 64 bits.

    Raises:
        BadJson: with the reason.
    """
    value = parse(body)
    if not isinstance(value, dict):
        raise BadJson("the body must be a JSON object")
    return value


def parse(body: bytes) -> dict[str, Any] | list[Any]:
    """Parse a JSON object or array as strictly.

    Raises:
        BadJson: with the reason.
    """
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadJson("the body is not valid UTF-8") from None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadJson(f"the body is not valid JSON: {error.msg}") from None
    if not isinstance(value, dict | list):
        raise BadJson("the body must be a JSON object")
    _check(value)
    return value


def _check(root: dict[str, Any] | list[Any]) -> None:
    level: list[Any] = [root]
    for _ in range(DEEPEST):
        following: list[Any] = []
        for each in level:
            children = each.values() if isinstance(each, dict) else each
            for child in children:
                if isinstance(child, dict | list):
                    following.append(child)
                elif (isinstance(child, float) and (not math.isfinite(child) or abs(child) > LARGEST_INT)) or (
                    isinstance(child, int) and abs(child) > LARGEST_INT
                ):
                    raise BadJson("a number is too large")
        if not following:
            return
        level = following
    raise BadJson(f"the body is nested more than {DEEPEST} levels deep")
