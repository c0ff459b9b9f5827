"""What wandb's clients say of artifacts, read from their mutations' inputs. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kelt_server.artifacts import names
from kelt_server.errors import BadRequestError
from kelt_server.wandb_api.arguments import text

_WHOLE_END = 2**62


def aliases_of(said: Mapping[str, Any], *, but: str = "") -> list[str]:
    """The aliases, but one."""
    items = objects_in(said.get("aliases"))
    return [text(item.get("alias")) for item in items if item.get("alias") != but]


def tags_of(listed: object) -> list[str]:
    """Tags.

    Raises:
        BadRequestError: one cannot be.
    """
    tags = [text(item.get("tagName")) for item in objects_in(listed)]
    return [names.check_name(tag, of="tag of an artifact") for tag in tags]


def with_changed_tags(
    there: Sequence[str], added: Sequence[str], removed: Sequence[str]
) -> list[str]:
    """The tags that there are afterwards."""
    return [tag for tag in dict.fromkeys((*there, *added)) if tag not in removed]


def metadata_of(said: Mapping[str, Any]) -> str | None:
    """The metadata as JSON; None where it was not said.

    Raises:
        BadRequestError: it is none.
    """
    found = said.get("metadata")
    if not isinstance(found, str):
        return None
    try:
        json.loads(found)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the artifact's metadata is not JSON: {error}") from error
    return storable(found)


def storable(said: object) -> str | None:
    """A text as the catalog takes it."""
    return names.storable(said) if isinstance(said, str) else None


def ttl_s_of(said: Mapping[str, Any]) -> int | None:
    """Less than nothing stands for the project's own, or for ever: here they are one."""
    found = whole_number(said.get("ttlDurationSeconds"))
    return found if found is not None and found > 0 else None


def whole_number(said: object) -> int | None:
    """A number that the catalog takes, or None."""
    if isinstance(said, bool) or not isinstance(said, int):
        return None
    return said if abs(said) < _WHOLE_END else None


def objects_in(listed: object) -> list[Mapping[str, Any]]:
    """The JSON objects in what should be a list of such."""
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
