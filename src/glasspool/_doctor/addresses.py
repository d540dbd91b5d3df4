"""Addresses: without their secrets, and with the password where HTTP wants it."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit

from .words import plain

__all__ = ["separated", "shown_url"]


def shown_url(url: str) -> str:
    """The address without user, password, query and fragment, where tokens are."""
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
    except ValueError:
        return "an address that cannot be read"
    host = parts.netloc.rpartition("@")[2]
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    return plain(f"{scheme}{host}{parts.path}") + ("?…" if parts.query else "")


def separated(url: str) -> tuple[str, dict[str, str]]:
    """The address without user and password, and the header that carries them."""
    scheme, mark, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    if not at:
        return url, {}
    encoded = base64.b64encode(unquote(user).encode()).decode()
    return f"{scheme}{mark}{host}{slash}{path}", {"Authorization": f"Basic {encoded}"}
