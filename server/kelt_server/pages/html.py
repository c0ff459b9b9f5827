"""HTML that escapes: text becomes markup only through `tag`."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = ("meta", "br", "hr", "img", "input")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | Markup | Iterable["Child"] | None


def escaped(child: Child) -> Markup:
    """A child as HTML; only Markup is passed on as it is."""
    if child is None:
        return Markup("")
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return Markup(html.escape(child, quote=True).encode("utf-8", "replace").decode())
    return Markup("".join(escaped(item) for item in child))


def tag(name: str, /, *children: Child, **attributes: str) -> Markup:
    """An element; `class_` stands for `class`."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
    )
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{escaped(children)}</{name}>")
