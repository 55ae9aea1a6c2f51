"""Judge requests and responses by Stripe's own (trimmed) OpenAPI description, see trim_openapi.py."""

from __future__ import annotations

import functools
import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from simulator.trim_openapi import OUTPUT

Json = dict[str, Any]
FORM = "application/x-www-form-urlencoded"

EXTRA_KEYS: set[tuple[str, str]] = set()
"""(schema, key) pairs we may emit although the description of this version does not list them."""


@dataclass(frozen=True)
class ParameterProblem:
    """One thing wrong with a request; `code` is Stripe's error code."""

    code: str
    param: str
    message: str


@functools.cache
def description() -> Json:
    """The trimmed OpenAPI description."""
    loaded: Json = json.loads(gzip.decompress(OUTPUT.read_bytes()))
    return loaded


@functools.cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    paths = sorted(description()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$"), path) for path in paths]


@functools.lru_cache(maxsize=4096)
def operation(method: str, path: str) -> Json | None:
    """The described operation a concrete request path belongs to, or None."""
    for pattern, template in _templates():
        if pattern.match(path):
            found: Json | None = description()["paths"][template].get(method.lower())
            if found is not None:
                return found
    return None


def _request_schema(described: Json) -> Json:
    """One object schema for query and form parameters together."""
    body = described.get("requestBody", {}).get("content", {}).get(FORM, {}).get("schema", {})
    properties = dict(body.get("properties", {}))
    required = list(body.get("required", []))
    for parameter in described.get("parameters", []):
        if parameter["in"] == "query":
            properties[parameter["name"]] = parameter["schema"]
            if parameter.get("required"):
                required.append(parameter["name"])
    return {"type": "object", "properties": properties, "required": required}


def read_parameters(method: str, path: str, params: Json) -> tuple[Json, list[ParameterProblem]]:
    """Turn decoded form strings into integers, booleans... by the description; list what is wrong with them."""
    described = operation(method, path)
    if described is None:
        return params, [ParameterProblem("url_invalid", "", f"Unrecognized request URL ({method}: {path}).")]
    problems: list[ParameterProblem] = []
    read = _read(_request_schema(described), params, "", problems)
    return read, problems


def request_errors(method: str, path: str, params: Json) -> list[str]:
    """Messages about parameters the description does not allow. `params` may hold strings or JSON values."""
    return [problem.message for problem in read_parameters(method, path, params)[1]]


def _resolve(schema: Json) -> Json:
    while "$ref" in schema:
        schema = description()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def _read(schema: Json, value: Any, name: str, problems: list[ParameterProblem]) -> Any:
    schema = _resolve(schema)
    if "anyOf" in schema:
        return _read_any(schema["anyOf"], value, name, problems)
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(str(item) for item in schema["enum"])
        problems.append(ParameterProblem("parameter_invalid", name, f"Invalid {name}: must be one of {allowed}"))
        return value
    kind = schema.get("type")
    if kind == "object":
        return _read_object(schema, value, name, problems)
    if kind == "array":
        return _read_array(schema, value, name, problems)
    reader = SCALARS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        return value
    try:
        return reader(value)
    except ValueError:
        problems.append(ParameterProblem(f"parameter_invalid_{kind}", name, f"Invalid {kind}: {name}"))
        return value


def _read_any(choices: list[Json], value: Any, name: str, problems: list[ParameterProblem]) -> Any:
    failed: list[ParameterProblem] = []
    for choice in choices:
        attempt: list[ParameterProblem] = []
        read = _read(choice, value, name, attempt)
        if not attempt:
            return read
        failed = failed or attempt
    problems.extend(failed)
    return value


def _read_object(schema: Json, value: Any, name: str, problems: list[ParameterProblem]) -> Any:
    if not isinstance(value, dict):
        problems.append(ParameterProblem("parameter_invalid", name, f"Invalid object: {name}"))
        return value
    properties = schema.get("properties", {})
    extra = schema.get("additionalProperties")
    read = {}
    for key, inner in value.items():
        full = f"{name}[{key}]" if name else key
        if key in properties:
            read[key] = _read(properties[key], inner, full, problems)
        elif isinstance(extra, dict):
            read[key] = _read(extra, inner, full, problems)
        elif extra is True:
            read[key] = inner
        else:
            problems.append(ParameterProblem("parameter_unknown", full, f"Received unknown parameter: {full}"))
    for key in schema.get("required", []):
        if key not in value:
            full = f"{name}[{key}]" if name else key
            problems.append(ParameterProblem("parameter_missing", full, f"Missing required param: {full}."))
    return read


def _read_array(schema: Json, value: Any, name: str, problems: list[ParameterProblem]) -> Any:
    if not isinstance(value, list):
        problems.append(ParameterProblem("parameter_invalid", name, f"Invalid array: {name}"))
        return value
    return [_read(schema["items"], item, f"{name}[{index}]", problems) for index, item in enumerate(value)]


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError(value)
    return int(value)


def _boolean(value: Any) -> bool:
    if value in (True, "true"):
        return True
    if value in (False, "false"):
        return False
    raise ValueError(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


SCALARS: dict[str, Callable[[Any], Any]] = {
    "integer": _integer,
    "number": float,
    "boolean": _boolean,
    "string": _string,
}


@functools.cache
def _validator(schema: str) -> Any:
    # jsonschema is only a development tool here: the running simulator never needs it.
    from jsonschema import Draft202012Validator

    return Draft202012Validator({**json.loads(schema), "components": description()["components"]})


def response_errors(method: str, path: str, body: Json) -> list[str]:
    """What is wrong with a response body: violations of the schema, and keys the schema does not list."""
    if "error" in body:
        return component_errors("error", body)
    described = operation(method, path)
    if described is None:
        return [f"not described: {method} {path}"]
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    found = [f"{error.json_path}: {error.message[:200]}" for error in _validator(json.dumps(schema)).iter_errors(body)]
    found.extend(_unlisted(schema, body, "$"))
    for inner in _nested_objects(body):
        found.extend(component_errors(inner["object"], inner))
    return found


def component_errors(name: str, body: Json) -> list[str]:
    """What is wrong with one object of a component schema, e.g. ("invoice", {...})."""
    schema = {"$ref": f"#/components/schemas/{name}"}
    errors = [
        f"{name}{error.json_path[1:]}: {error.message[:200]}"
        for error in _validator(json.dumps(schema)).iter_errors(body)
    ]
    return errors + list(_unlisted(schema, body, name))


def _nested_objects(node: Any, top: bool = True) -> Iterator[Json]:
    if isinstance(node, list):
        for item in node:
            yield from _nested_objects(item, False)
    elif isinstance(node, dict):
        name = node.get("object")
        if not top and isinstance(name, str) and name in description()["components"]["schemas"]:
            yield node
        for value in node.values():
            yield from _nested_objects(value, False)


def _unlisted(schema: Json, value: Any, where: str) -> Iterator[str]:
    """Keys we emit that the schema does not know (it does not forbid them by itself)."""
    name = schema["$ref"].rsplit("/", 1)[-1] if "$ref" in schema else ""
    schema = _resolve(schema)
    if "anyOf" in schema:
        complaints = [list(_unlisted(choice, value, where)) for choice in schema["anyOf"]]
        yield from min(complaints, key=len)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unlisted(schema.get("items", {}), item, f"{where}[{index}]")
    elif isinstance(value, dict) and "properties" in schema:
        for key, inner in value.items():
            if key in schema["properties"]:
                yield from _unlisted(schema["properties"][key], inner, f"{where}.{key}")
            elif not schema.get("additionalProperties") and (name, key) not in EXTRA_KEYS:
                yield f"{where}.{key}: not in the schema {name}"
