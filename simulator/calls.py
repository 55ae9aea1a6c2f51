"""What one API call is, and helpers that all calls share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from simulator.errors import ApiError
from simulator.world import Caller, World

Json = dict[str, Any]

PAGE = {"limit", "starting_after", "ending_before"}
CREATED = {"created.gt", "created.gte", "created.lt", "created.lte"}


@dataclass
class Call:
    """A validated request: `args` are the ids in the path, `params` have their real types."""

    world: World
    caller: Caller
    path: str
    args: dict[str, str]
    params: Json

    def merge_metadata(self, subject: Json) -> None:
        """Metadata of the request into `subject`: an empty value removes its key."""
        given = self.params.get("metadata")
        if given == "":
            subject["metadata"] = {}
        elif given:
            subject["metadata"] = {key: value for key, value in {**subject["metadata"], **given}.items() if value != ""}

    def listing(self, rows: Iterable[Json], fields: Iterable[str] = ()) -> Json:
        """A page of `rows` (newest first), filtered by equality on `fields` and by `created`."""
        params = self.params
        wanted = {name: params[name] for name in fields if name in params}
        found = [
            row
            for row in rows
            if all(row.get(name) == value for name, value in wanted.items()) and _created_in(row, params.get("created"))
        ]
        limit = params.get("limit", 10)
        if not 1 <= limit <= 100:
            raise ApiError(400, "Invalid limit: must be between 1 and 100", param="limit")
        if "ending_before" in params:
            end = self._position(found, params["ending_before"])
            page, more = found[max(0, end - limit) : end], end > limit
        else:
            start = self._position(found, params["starting_after"]) + 1 if "starting_after" in params else 0
            page, more = found[start : start + limit], len(found) > start + limit
        return {"object": "list", "data": page, "has_more": more, "url": self.path}

    @staticmethod
    def _position(rows: list[Json], identifier: str) -> int:
        for index, row in enumerate(rows):
            if row["id"] == identifier:
                return index
        raise ApiError(400, f"No such object: '{identifier}'", code="resource_missing", param="starting_after")


def _created_in(row: Json, wanted: Any) -> bool:
    if wanted is None:
        return True
    moment = row["created"]
    if isinstance(wanted, int):
        return bool(moment == wanted)
    checks = {
        "gt": lambda bound: moment > bound,
        "gte": lambda bound: moment >= bound,
        "lt": lambda bound: moment < bound,
        "lte": lambda bound: moment <= bound,
    }
    return all(checks[name](bound) for name, bound in wanted.items())


@dataclass(frozen=True)
class Modelled:
    """A call the simulator plays. `params` are dotted names; a name covers everything below it."""

    method: str
    path: str
    play: Callable[[Call], Json]
    params: frozenset[str] = frozenset()
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        expression = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path) + "$"
        object.__setattr__(self, "pattern", re.compile(expression))

    def covers(self, leaf: str) -> bool:
        """Whether a dotted parameter name is played."""
        steps = leaf.split(".")
        return any(".".join(steps[: end + 1]) in self.params for end in range(len(steps)))


MODELLED: list[Modelled] = []


def played(method: str, path: str, *names: str) -> Callable[[Callable[[Call], Json]], Callable[[Call], Json]]:
    """Register the function below as the play of a call; `expand` is always allowed."""

    def register(play: Callable[[Call], Json]) -> Callable[[Call], Json]:
        MODELLED.append(Modelled(method, path, play, frozenset(names) | {"expand"}))
        return play

    return register
