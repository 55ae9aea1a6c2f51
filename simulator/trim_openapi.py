"""Trim Stripe's OpenAPI description to what the simulator and its oracle need.

The description is the MIT-licensed `spec3.json` embedded in the Go module github.com/stripe/stripe-mock
(version in `SOURCE`). To make the committed file again:

    go mod download -json github.com/stripe/stripe-mock@v0.203.0     # prints "Dir"
    python -m simulator.trim_openapi <Dir>/embedded/openapi/spec3.json
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

SOURCE = "github.com/stripe/stripe-mock v0.203.0, embedded/openapi/spec3.json"
OUTPUT = Path(__file__).with_name("stripe_openapi.json.gz")

OPERATIONS = {
    "/v1/billing_portal/sessions": ["post"],
    "/v1/charges": ["get"],
    "/v1/charges/{charge}": ["get"],
    "/v1/coupons": ["get", "post"],
    "/v1/coupons/{coupon}": ["get"],
    "/v1/customers": ["get", "post"],
    "/v1/customers/{customer}": ["get", "post"],
    "/v1/customers/{customer}/payment_methods": ["get"],
    "/v1/disputes": ["get"],
    "/v1/disputes/{dispute}": ["get"],
    "/v1/events": ["get"],
    "/v1/events/{id}": ["get"],
    "/v1/invoice_payments": ["get"],
    "/v1/invoices": ["get"],
    "/v1/invoices/{invoice}": ["get", "post"],
    "/v1/invoices/{invoice}/mark_uncollectible": ["post"],
    "/v1/invoices/{invoice}/pay": ["post"],
    "/v1/invoices/{invoice}/void": ["post"],
    "/v1/payment_intents": ["get"],
    "/v1/payment_intents/{intent}": ["get"],
    "/v1/payment_methods": ["get", "post"],
    "/v1/payment_methods/{payment_method}": ["get"],
    "/v1/payment_methods/{payment_method}/attach": ["post"],
    "/v1/prices": ["get", "post"],
    "/v1/prices/{price}": ["get"],
    "/v1/products": ["get", "post"],
    "/v1/products/{id}": ["get"],
    "/v1/refunds": ["get", "post"],
    "/v1/subscriptions": ["get", "post"],
    "/v1/subscriptions/{subscription_exposed_id}": ["get", "post", "delete"],
    "/v1/webhook_endpoints": ["get", "post"],
}
NOISE = {"description", "title", "maxLength", "style", "explode", "encoding", "externalDocs"}


def shrink(node: Any) -> Any:
    """Drop prose, turn `nullable` into JSON Schema, and let expandable fields be an id or an object."""
    if isinstance(node, list):
        return [shrink(item) for item in node]
    if not isinstance(node, dict):
        return node
    nullable = node.get("nullable") is True
    if "x-expansionResources" in node:
        # The oracle checks an expanded object on its own; keeping every union here would treble the file.
        return {"type": ["string", "object", "null"] if nullable else ["string", "object"]}
    small = {}
    for key, value in node.items():
        if key == "properties":
            small[key] = {name: shrink(schema) for name, schema in value.items()}
        elif key not in NOISE and key != "nullable" and not key.startswith("x-"):
            small[key] = shrink(value)
    if not nullable:
        return small
    if isinstance(small.get("type"), str) and "enum" not in small:
        return {**small, "type": [small["type"], "null"]}
    return {"anyOf": [small, {"type": "null"}]}


def references(node: Any) -> set[str]:
    """Names of the component schemas a (shrunk) node refers to."""
    if isinstance(node, list):
        return {name for item in node for name in references(item)}
    if not isinstance(node, dict):
        return set()
    found = {name for value in node.values() for name in references(value)}
    if isinstance(node.get("$ref"), str):
        found.add(node["$ref"].rsplit("/", 1)[-1])
    return found


def trim(spec: dict[str, Any]) -> dict[str, Any]:
    """Return {source, version, paths, components} holding only `OPERATIONS` and the schemas they reach."""
    paths: dict[str, Any] = {}
    for path, methods in OPERATIONS.items():
        for method in methods:
            operation = spec["paths"][path][method]
            paths.setdefault(path, {})[method] = shrink(
                {key: operation[key] for key in ("parameters", "requestBody") if key in operation}
                | {"responses": {"200": operation["responses"]["200"]}}
            )
    schemas: dict[str, Any] = {}
    waiting = references(paths) | {"error", "dispute", "charge", "refund"}
    while waiting:
        name = waiting.pop()
        schemas[name] = shrink(spec["components"]["schemas"][name])
        waiting |= references(schemas[name]) - schemas.keys()
    return {
        "source": SOURCE,
        "version": spec["info"]["version"],
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def main() -> None:
    """Write the trimmed, gzipped description next to this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", type=Path, help="spec3.json of the stripe-mock Go module")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    trimmed = json.dumps(trim(json.loads(arguments.spec.read_bytes())), separators=(",", ":"), sort_keys=True)
    arguments.output.write_bytes(gzip.compress(trimmed.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
