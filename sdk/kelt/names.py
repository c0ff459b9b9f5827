"""Generated names: run ids, immutable ids, and two words with a number for people."""

from __future__ import annotations

import hashlib
import json
import secrets

RUN_ID_CHARS = 8
BRANCH_ID_CHARS = 20
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"

_ADJECTIVES = (
    "amber brisk calm clear coral crisp dawn deep dusky early eager fair fleet fresh gentle gold "
    "grand hardy hazel ivory jade keen kind late light lively lucid lunar merry misty mossy noble "
    "northern ocean olive pearl polar proud quick quiet rapid red rosy royal russet rustic sable "
    "sandy silver slate smooth snowy solar steady still stormy summer sunny swift tidal umber "
    "velvet violet warm wild winter wise young zesty"
)
_NOUNS = (
    "alder bay beck birch bluff bridge brook burn cairn cape cedar cove creek current dale delta "
    "eddy elm estuary falls fen fern firth fjord ford glade glen gorge grove gull harbour heath "
    "heron hill inlet island lagoon lake larch ledge loch marsh meadow mere moor oak osprey otter "
    "pass peak pebble pine pond pool rapid reed reef ridge riffle river rowan run salmon shoal "
    "shore spring strait stream sturgeon summit tarn tern tide trout vale weir willow"
)


def new_run_id() -> str:
    """A run id that nobody has: eight letters and digits."""
    return _random(RUN_ID_CHARS)


def new_branch_id() -> str:
    """An immutable id: long enough that two hosts never draw the same."""
    return _random(BRANCH_ID_CHARS)


def shared_branch_id(entity: str, project: str, run_id: str) -> str:
    """The immutable id of a shared run: the same on every host, though none knows the others."""
    text = json.dumps(["kelt shared run", entity, project, run_id])
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    digits = ""
    while len(digits) < BRANCH_ID_CHARS:
        number, digit = divmod(number, len(_ALPHABET))
        digits += _ALPHABET[digit]
    return digits


def new_writer_id() -> bytes:
    """Sixteen random bytes."""
    return secrets.token_bytes(16)


def display_name(number: int) -> str:
    """Two words and the run's number in its project, as this host counts."""
    return f"{secrets.choice(_ADJECTIVES.split())}-{secrets.choice(_NOUNS.split())}-{number}"


def _random(chars: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(chars))
