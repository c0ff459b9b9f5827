"""Addresses as they may be kept and shown: a user or a key in one is a secret."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/?#\s@]*(?:@[^/?#\s@]*)*@")


def without_user(address: str) -> str:
    """The address without what stands before an `@`: `http://user:key@host` is `http://host`."""
    return _USER.sub("", address, count=1)


def has_user(address: str) -> bool:
    """Whether it holds a user or a key."""
    return _USER.search(address) is not None


def hide_users(text: str, *, hidden: str) -> str:
    """A text with the users and keys of all addresses in it hidden."""
    return _USER.sub(f"{hidden}@", text)
