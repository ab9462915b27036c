"""Whatever Mux or a proxy may send: any JSON, any bytes, and what Mux's OpenAPI describes."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

MUX_IDS = st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True)
ID_FIELDS = frozenset({"id", "asset_id", "upload_id"})
NAMES = [
    *("id", "status", "asset_id", "upload_id", "playback_ids", "policy", "passthrough", "meta"),
    *("external_id", "error", "errors", "type", "message", "messages", "progress", "duration"),
    *("data", "test", "next_cursor", "resolution_tier", "environment_id", "lessonId"),
]

anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["ready", "preparing", "errored", "waiting", "public", "as1", "temp_up1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=6)
    ),
    max_leaves=20,
)
"""Any JSON, mostly with names and values that Mux uses, also NaN and lone surrogates."""

bodies = anything | st.fixed_dictionaries({"data": anything}, optional={"next_cursor": anything})


@st.composite
def broken_bytes(draw: st.DrawFn) -> bytes:
    """Return JSON that is cut off, or has a byte changed, or any bytes."""
    body = json.dumps(draw(bodies)).encode()
    place = draw(st.integers(0, len(body)))
    match draw(st.sampled_from(["cut", "changed", "any"])):
        case "cut":
            return body[:place]
        case "changed":
            return body[:place] + draw(st.binary(max_size=3)) + body[place + 1 :]
        case _:
            return draw(st.binary())


def described(schemas: Mapping[str, Any], schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return what a schema of Mux's OpenAPI allows, with fields that it does not know.

    Ids are ids as Mux makes them: the schemas call them strings.
    """
    if "$ref" in schema:
        return described(schemas, schemas[schema["$ref"].rsplit("/", 1)[1]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    values = _of_type(schemas, schema)
    return values | st.none() if schema.get("nullable") else values


def _of_type(schemas: Mapping[str, Any], schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    least, most = schema.get("minimum"), schema.get("maximum")
    if schema.get("type") == "array":
        return st.lists(described(schemas, schema["items"]), max_size=2)
    if "properties" in schema:
        return _object(schemas, schema)
    scalars: dict[str | None, st.SearchStrategy[Any]] = {
        "string": st.text(max_size=schema.get("maxLength", 50)),
        "boolean": st.booleans(),
        "integer": st.integers(least, most),
        "number": st.floats(least, most, allow_nan=False, allow_infinity=False),
    }
    return scalars.get(schema.get("type"), anything)


def _object(schemas: Mapping[str, Any], schema: Mapping[str, Any]) -> st.SearchStrategy[Json]:
    fields = {
        name: MUX_IDS if name in ID_FIELDS else described(schemas, field)
        for name, field in schema["properties"].items()
    }
    required = {name: fields.pop(name) for name in schema.get("required", ())}
    known = st.fixed_dictionaries(required, optional=fields)
    unknown = st.dictionaries(st.from_regex(r"x_[a-z]{1,5}", fullmatch=True), anything, max_size=1)
    return st.builds(lambda new, old: {**new, **old}, unknown, known)
