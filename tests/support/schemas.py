"""Reduce JSON schemas and OpenAPI documents to what a program can depend on: resolve references, leave out prose, sort
lists without an order.
"""

import json
from collections.abc import Mapping
from typing import Any

Tree = dict[str, Any]

PROSE = {"description", "example", "examples", "externalDocs", "info", "servers", "summary", "tags", "title"}
NAMED = {"callbacks", "content", "headers", "paths", "patternProperties", "properties", "responses"}
"""Keywords with a mapping of names to nodes as their value: a property may be called `title`."""
UNORDERED = {"allOf", "anyOf", "enum", "oneOf", "parameters", "required", "security"}
VALUES = {"const", "default", "enum"}
"""Keywords with plain data as their value."""


def meaning(node: Any, document: Mapping[str, Any], *, named: bool = False) -> Any:
    """Return the node without prose and references. `named` says that its keys are names, not keywords."""
    if isinstance(node, list):
        return [meaning(one, document) for one in node]
    if not isinstance(node, dict):
        return node
    while isinstance(node.get("$ref"), str):
        node = _target(node["$ref"], document) | {key: value for key, value in node.items() if key != "$ref"}
    kept = {key: value for key, value in node.items() if named or key not in PROSE}
    return {key: _value(key, value, document, named=named) for key, value in sorted(kept.items())}


def _value(key: str, value: Any, document: Mapping[str, Any], *, named: bool) -> Any:
    if named:
        return meaning(value, document)
    if key not in VALUES:
        value = meaning(value, document, named=key in NAMED)
    return sorted(value, key=json.dumps) if key in UNORDERED and isinstance(value, list) else value


def _target(reference: str, document: Mapping[str, Any]) -> Tree:
    """The node under a reference such as `#/components/schemas/Problem`."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return dict(found)


def shape(value: Any) -> Any:
    """Return the keys of a JSON document with the types of their values. A list has the shapes that occur in it."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in sorted(value.items())}
    if isinstance(value, list):
        return [json.loads(one) for one in sorted({json.dumps(shape(one)) for one in value})]
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else "string"
