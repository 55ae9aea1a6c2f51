"""expand[]: replace ids by objects, up to four levels deep, also through lists (data.…)."""

from __future__ import annotations

from typing import Any

from simulator import billing
from simulator.errors import ApiError
from simulator.world import World

Json = dict[str, Any]
MAX_DEPTH = 4


def expand(world: World, body: Json, paths: list[str]) -> Json:
    """A copy of `body` with each dotted path expanded; 400 for a path that cannot be."""
    expanded = billing.copy_of(body)
    for path in paths:
        steps = path.split(".")
        if len([step for step in steps if step != "data"]) > MAX_DEPTH:
            raise ApiError(400, f"You cannot expand more than {MAX_DEPTH} levels of a property: {path}")
        _follow(world, expanded, steps, path)
    return expanded


def _follow(world: World, node: Any, steps: list[str], path: str) -> None:
    if not steps or node is None:
        return
    step, rest = steps[0], steps[1:]
    if isinstance(node, list):
        for item in node:
            _follow(world, item, steps, path)
        return
    if node.get("object") == "invoice" and step == "payments" and "payments" not in node:
        rows = [billing.copy_of(payment) for payment in billing.payments_of(world, node)]
        url = f"/v1/invoice_payments?invoice={node['id']}"
        node["payments"] = {"object": "list", "data": rows, "has_more": False, "url": url}
    if step not in node:
        raise ApiError(400, f"This property cannot be expanded ({path}).", param="expand")
    value = node[step]
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        node[step] = [_object(world, each, path) for each in value]
    elif isinstance(value, str):
        node[step] = _object(world, value, path)
    elif value == []:
        return
    elif not rest and not isinstance(value, dict | None):
        raise ApiError(400, f"This property cannot be expanded ({path}).", param="expand")
    _follow(world, node[step], rest, path)


def _object(world: World, identifier: str, path: str) -> Json:
    if identifier not in world.objects:
        raise ApiError(400, f"This property cannot be expanded ({path}).", param="expand")
    return billing.copy_of(world.objects[identifier])
