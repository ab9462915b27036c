"""Check the addresses of services, and tell a Supabase project's from similar ones. Pure."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_REF = re.compile(
    r"/project/([a-z0-9]{20})\b|//postgres\.([a-z0-9]{20}):"
    r"|\b([a-z0-9]{20})\.(?:[a-z]+\.)?supabase\.(?:co|in|net)\b"
)
"""A project's ref, in an address of the dashboard, a user of the pooler, or a host name."""

_API_PATH = re.compile(r"/(?:rest|auth|storage|functions|realtime|graphql)/v\d+(?:/.*)?$")
_SERVICE_HOST = re.compile(r"(?:(db)\.)?[a-z0-9-]+(?:\.([a-z]+))?\.supabase\.(?:co|in|net)")


def split_url(text: str) -> SplitResult:
    """Return the parts of an address; raise ValueError, without the text, where it is invalid."""
    try:
        return urlsplit(text)
    except ValueError:  # its message may show a password in brackets
        raise ValueError("must look like https://host") from None


def project_url(text: str) -> str:
    """Return the address unchanged; raise ValueError, naming the right one, for a similar address.

    Supabase's dashboard shows them side by side.
    """
    ref = _REF.search(text)
    right = f"https://{ref[ref.lastindex or 0] if ref else '<ref>'}.supabase.co"
    if re.match(r"postgres(?:ql)?://", text):
        raise _wrong_address("a connection string of the database", right)
    parts = split_url(text if "://" in text else f"//{text}")
    host = parts.hostname or ""
    if host.endswith(".pooler.supabase.com"):
        raise _wrong_address("the address of the connection pooler", right)
    if re.search(r"(?:^|\.)supabase\.(?:com|io)$", host):
        raise _wrong_address("the address of the dashboard", right)
    service = _SERVICE_HOST.fullmatch(host)
    if service and (service[1] or service[2]):
        raise _wrong_address(f"the address of {service[2] or 'the database'}", right)
    if path := _API_PATH.search(parts.path):
        server = parts.netloc.rpartition("@")[2] + parts.path.removesuffix(path[0])
        raise _wrong_address(
            f"the address of one API ({path[0]})", f"{parts.scheme or 'https'}://{server}"
        )
    return text


def _wrong_address(what: str, right: str) -> ValueError:
    return ValueError(f"is {what}; it must be the address of the project, {right}")


def base_url(text: str) -> str:
    """Check an address that credentials are sent to; only a private one may do without TLS."""
    parts = split_url(text)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("must look like https://host")
    if parts.scheme == "http" and not _is_private(parts.hostname):
        raise ValueError("must begin with https://, or the key would be sent unencrypted")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be an address without user, password, query or fragment")
    if not _has_usable_port(parts):
        raise ValueError("must have a port from 1 to 65535, or none")
    return text.rstrip("/")


def _has_usable_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal"))
