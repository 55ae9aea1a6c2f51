"""Stripe's form encoding: a[b]=1, a[0][c]=2, a[]=3."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

APPENDED = "[]"


def decode(encoded: str) -> dict[str, Any]:
    """Decode a query string or form body into nested dicts and lists whose leaves are strings."""
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        keys = name.replace("]", "").split("[")
        branch = tree
        for key in keys[:-1]:
            child = branch.setdefault(key, {})
            branch = child if isinstance(child, dict) else {}
        if keys[-1] == "":
            branch.setdefault(APPENDED, []).append(value)
        else:
            branch[keys[-1]] = value
    return {name: _lists(value) for name, value in tree.items()}


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if APPENDED in node:
        return node[APPENDED]
    if node and all(key.isdigit() for key in node):
        return [_lists(node[key]) for key in sorted(node, key=int)]
    return {key: _lists(value) for key, value in node.items()}


def leaves(params: Any, prefix: str = "") -> list[str]:
    """Dotted names of all leaves; list positions are left out: {"items": [{"price": 1}]} -> ["items.price"]."""
    if isinstance(params, list):
        return [leaf for item in params for leaf in leaves(item, prefix)]
    if isinstance(params, dict) and params:
        return [leaf for key, value in params.items() for leaf in leaves(value, f"{prefix}.{key}" if prefix else key)]
    return [prefix] if prefix else []
