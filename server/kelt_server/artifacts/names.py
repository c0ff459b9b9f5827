"""Names, aliases and ids of artifacts. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re

from kelt_server.errors import BadRequestError, NotFoundError

#: Moves to what was logged last.
LATEST = "latest"
_CHARS_MAX = 256
#: Of metadata; what reads them goes down by calling itself.
_DEPTH_MAX = 100
_VERSION = re.compile(r"v(0|[1-9]\d{0,17})")
_REFERENCE = re.compile(r"wandb-artifact://([0-9a-f]{2,100})/(.+)", re.DOTALL)
_ID = re.compile(r"(\w+):(\d{1,18})")


def encode_id(kind: str, number: int) -> str:
    """An id as clients keep it. They write it into references in hexadecimal, so it is base64."""
    return base64.standard_b64encode(f"{kind}:{number}".encode()).decode()


def decode_id(kind: str, said: object) -> int:
    """The number in an id.

    Raises:
        NotFoundError: it is none of ours.
    """
    try:
        found = _ID.fullmatch(base64.b64decode(str(said), validate=True).decode())
    except (ValueError, binascii.Error):
        found = None
    if found is None or found[1] != kind:
        raise NotFoundError(f"{str(said)[:100]!r} is no id of an artifact of this server")
    return int(found[2])


def referred(ref: str) -> tuple[int, str] | None:
    """Number and path in a reference to an artifact of this server: `wandb-artifact://<id>/<path>`."""
    found = _REFERENCE.fullmatch(ref)
    if found is None:
        return None
    try:
        said = base64.standard_b64encode(bytes.fromhex(found[1]))
        return decode_id("Artifact", said.decode()), found[2]
    except (ValueError, NotFoundError):
        return None


def split_name(name: str) -> tuple[str, str]:
    """Collection and alias of `collection:alias`; without an alias it is the latest."""
    collection, _, alias = name.partition(":")
    return collection, alias or LATEST


def version_of(alias: str) -> int | None:
    """The number in `v3`; None where it is another alias."""
    found = _VERSION.fullmatch(alias)
    return int(found[1]) if found else None


def is_storable(text: str) -> bool:
    """Whether a database takes the text: not with NUL, nor with half a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


def storable(text: str) -> str:
    """A text as a database takes it."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def check_name(name: str, *, of: str) -> str:
    """The name, if it can be one.

    Raises:
        BadRequestError: it cannot.
    """
    if not 0 < len(name) <= _CHARS_MAX or set("/:") & set(name) or not is_storable(name):
        raise BadRequestError(
            f"{name[:100]!r} cannot be the {of}: it has 1 to {_CHARS_MAX} characters, "
            "without / and :"
        )
    return name


def check_alias(alias: str) -> str:
    """The alias, if somebody may give it.

    Raises:
        BadRequestError: they may not.
    """
    check_name(alias, of="alias of an artifact")
    if version_of(alias) is not None:
        raise BadRequestError(f"{alias!r} is the number of a version and cannot be given as alias")
    return alias


def check_metadata(text: str) -> str:
    """Metadata as JSON, if every reader can read them.

    Raises:
        BadRequestError: they are no JSON, or nested too deep.
    """
    try:
        inside = [json.loads(text)]
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the artifact's metadata is not JSON: {error}") from error
    for _ in range(_DEPTH_MAX + 1):
        held = [item for item in inside if isinstance(item, (dict, list))]
        if not held:
            return text
        inside = [
            found
            for items in held
            for found in (items.values() if isinstance(items, dict) else items)
        ]
    raise BadRequestError(
        f"the artifact's metadata is nested more than {_DEPTH_MAX} deep; flatten it"
    )
