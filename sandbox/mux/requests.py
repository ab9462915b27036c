"""Parse and validate the requests to the simulated Mux."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

from sandbox.mux.responses import error_json
from sandbox.mux.state import UploadNotWaitingError
from sandbox.mux.timeline import AssetSettings

NOT_FOUND = "The requested resource either doesn't exist or you don't have access to it."
DEFAULT_PAGE_SIZE = 25
LARGEST_PAGE_SIZE = 100
_POLICIES = ("public", "signed", "drm")
_TIMEOUT_SECONDS = range(60, 604_800 + 1)
_DEFAULT_TIMEOUT_SECONDS = 3600
_PASSTHROUGH_LENGTH = 255
_T = TypeVar("_T")
_META_LENGTHS = {"title": 512, "creator_id": 128, "external_id": 128}


@dataclass(frozen=True, slots=True)
class NewUpload:
    """The body of a request that creates a direct upload."""

    settings: AssetSettings
    timeout_seconds: int
    cors_origin: str
    test: bool


def error_response(status: int, error_type: str, message: str) -> web.HTTPException:
    """Return an error response, to be raised."""
    body = json.dumps(error_json(error_type, message))
    exceptions: dict[int, type[web.HTTPException]] = {
        400: web.HTTPBadRequest,
        403: web.HTTPForbidden,
        404: web.HTTPNotFound,
    }
    return exceptions[status](text=body, content_type="application/json")


def invalid(message: str) -> web.HTTPException:
    """Return the response to an invalid request."""
    return error_response(400, "invalid_parameters", message)


def found(look_up: Callable[[str], _T], key: str) -> _T:
    """Return what `look_up` finds; raise the response for what it does not, or may not."""
    try:
        return look_up(key)
    except KeyError:
        raise error_response(404, "not_found", NOT_FOUND) from None
    except UploadNotWaitingError as error:
        raise error_response(403, "invalid_state", str(error)) from None


def page_size(request: web.Request) -> int:
    """Return the query's `limit`."""
    limit = _whole_number(request, "limit", DEFAULT_PAGE_SIZE)
    if not 1 <= limit <= LARGEST_PAGE_SIZE:
        raise invalid(f"limit must be between 1 and {LARGEST_PAGE_SIZE}")
    return limit


def page_number(request: web.Request) -> int:
    """Return the query's `page`; the first is 1."""
    page = _whole_number(request, "page", 1)
    if page < 1:
        raise invalid("page must be at least 1")
    return page


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the body, which must be a JSON object; no body counts as an empty object."""
    text = await request.text()
    try:
        body = json.loads(text) if text else {}
    except ValueError:
        raise invalid("the body is not JSON") from None
    if not isinstance(body, dict):
        raise invalid("the body is not a JSON object")
    return body


def policy_of(body: Mapping[str, Any]) -> str:
    """Return the policy of a playback id that is to be created."""
    policy = body.get("policy", "public")
    if policy not in _POLICIES:
        raise invalid(f"policy must be one of {', '.join(_POLICIES)}")
    return str(policy)


def new_upload(body: Mapping[str, Any]) -> NewUpload:
    """Parse the body of `POST /video/v1/uploads`."""
    cors_origin = body.get("cors_origin")
    if not isinstance(cors_origin, str):
        raise invalid("cors_origin is required")
    timeout = body.get("timeout", _DEFAULT_TIMEOUT_SECONDS)
    if isinstance(timeout, bool) or timeout not in _TIMEOUT_SECONDS:
        raise invalid("timeout must be between 60 and 604800")
    test = body.get("test", False)
    if not isinstance(test, bool):
        raise invalid("test must be true or false")
    settings = body.get("new_asset_settings", {})
    if not isinstance(settings, dict):
        raise invalid("new_asset_settings must be an object")
    return NewUpload(_settings(settings), int(timeout), cors_origin, test)


def _settings(body: Mapping[str, Any]) -> AssetSettings:
    policies = body.get("playback_policies", body.get("playback_policy", []))
    if not isinstance(policies, list) or any(policy not in _POLICIES for policy in policies):
        raise invalid(f"playback_policies must be a list of {', '.join(_POLICIES)}")
    passthrough = body.get("passthrough")
    if passthrough is not None and not _is_text(passthrough, _PASSTHROUGH_LENGTH):
        raise invalid(f"passthrough must have at most {_PASSTHROUGH_LENGTH} characters")
    return AssetSettings(tuple(policies), passthrough, _meta(body.get("meta", {})))


def _meta(meta: object) -> dict[str, str]:
    if not isinstance(meta, dict):
        raise invalid("meta must be an object")
    known = {name: value for name, value in meta.items() if name in _META_LENGTHS}
    for name, value in known.items():
        if not _is_text(value, _META_LENGTHS[name]):
            raise invalid(f"meta.{name} must have at most {_META_LENGTHS[name]} characters")
    return known


def _is_text(value: object, max_length: int) -> bool:
    return isinstance(value, str) and len(value) <= max_length


def _whole_number(request: web.Request, name: str, default: int) -> int:
    value = request.query.get(name)
    try:
        return default if value is None else int(value)
    except ValueError:
        raise invalid(f"{name} must be a whole number") from None
