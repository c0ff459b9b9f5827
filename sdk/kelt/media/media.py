"""What all media share: a document that describes them, and a file beside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from kelt.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

    from kelt.artifacts.manifest import Entry

BUCKETS_MAX = 512
_ADDRESS = re.compile(r"(gs|s3|https?)://")
#: Of a digest, in the name of a file.
_DIGITS = 20
_PIECE_BYTES = 1024 * 1024


class Holder(Protocol):
    """An artifact that an object is added to."""

    def hold_file(self, path: str, name: str) -> str:
        """Takes a file of the user's; returns its path in the artifact, where it may be already."""

    def hold_address(self, uri: str, name: str) -> str:
        """Takes an address; returns its path in the artifact."""

    def hold_bytes(self, data: bytes, folder: str, suffix: str) -> str:
        """Takes what was made of data; returns its path in the artifact."""

    def add(self, obj: Any, name: str) -> Entry:
        """Takes another object."""


class Source(Protocol):
    """An artifact that an object is read from."""

    def fetched(self, path: str) -> Path:
        """One of its files, on this disk."""

    def located(self, path: str) -> str:
        """Where one of its files lies: on this disk, or at its address."""

    def get(self, name: str) -> Any:
        """Another object."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The version that an object was read from, and its document there."""

    address: str
    digest: str


class Media:
    """Something to be looked at.

    Attributes:
        caption: shown beside it.
        origin: of what `get` gave: added to another artifact, it is a reference there.
    """

    #: The kind, as `_type` says it and as the ends of documents' names do; empty: not in artifacts.
    log_type: ClassVar[str] = ""

    def __init__(self, *_args: Any, caption: str | None = None, **_named: Any) -> None:
        self.caption = caption
        self.origin: Origin | None = None

    def document(self, holder: Holder) -> dict[str, Any]:
        """What describes it; what belongs to it goes into the artifact.

        Raises:
            UsageError: it cannot be in an artifact.
        """
        del holder
        raise UsageError(f"artifact.add: a {type(self).__name__} cannot be in an artifact of kelt.")

    @classmethod
    def of_document(cls, document: Mapping[str, Any], source: Source) -> Self:
        """Made anew from what describes it."""
        raise NotImplementedError

    @classmethod
    def file_name(cls, name: str) -> str:
        """Under which the document of an object lies that is called `name`."""
        end = f"{cls.log_type}.json"
        return name if name.endswith(end) else f"{name}.{end}"


class FileMedia(Media):
    """What is a file: one that was named, or one that is made of data when it is needed."""

    folder: ClassVar[str] = ""
    #: Whether the columns of a table have a type for it.
    has_type: ClassVar[bool] = True

    def __init__(self, caption: str | None = None) -> None:
        super().__init__(caption=caption)
        #: Of a file that was named, or the address at which there is one.
        self._path = ""
        #: Its path in the artifact that it was read from.
        self.read_as = ""

    def document(self, holder: Holder) -> dict[str, Any]:
        """As `Media` has it.

        Raises:
            UsageError: there is no such file, or nothing can be made of the data.
        """
        said: dict[str, Any] = {"_type": self.log_type}
        if self.caption is not None:
            said["caption"] = self.caption
        if self._path:
            said["sha256"], said["path"] = self._held_file(holder)
            return said
        data, suffix = self._made()
        said["sha256"] = hashlib.sha256(data).hexdigest()
        said["path"] = holder.hold_bytes(data, f"media/{self.folder}", suffix)
        return said

    def _held_file(self, holder: Holder) -> tuple[str, str]:
        last = self._path.rstrip("/").rpartition("/")[2]
        if is_address(self._path):
            sha256 = hashlib.sha256(self._path.encode()).hexdigest()
            name = f"media/{self.folder}/{sha256[:_DIGITS]}/{last}"
            return sha256, holder.hold_address(self._path, name)
        try:
            sha256 = _sha256(Path(self._path))
        except OSError as error:
            said = f"artifact.add: {self._path} cannot be read ({error.strerror})."
            raise UsageError(said) from None
        name = self.read_as or f"media/{self.folder}/{sha256[:_DIGITS]}/{last}"
        return sha256, holder.hold_file(self._path, name)

    def _made(self) -> tuple[bytes, str]:
        """The file's content, and the end of its name."""
        raise NotImplementedError

    @classmethod
    def of_document(cls, document: Mapping[str, Any], source: Source) -> Self:
        """As `Media` has it."""
        found = cls._read(source.located(document["path"]), document, source)
        found.read_as = document["path"]
        return found

    @classmethod
    def _read(cls, path: str, document: Mapping[str, Any], source: Source) -> Self:
        """Made anew of its file."""
        raise NotImplementedError


def is_address(path: str) -> bool:
    """Whether what was named is kept elsewhere."""
    return _ADDRESS.match(path) is not None


def snapshot(data: Any) -> Any:
    """A copy of an array, a tensor or a picture, which the script may go on to change."""
    if hasattr(data, "detach"):  # PyTorch's
        data = data.detach()
        return data.clone() if hasattr(data, "clone") else data
    if hasattr(data, "numpy"):  # TensorFlow's
        return data.numpy()
    return data.copy() if hasattr(data, "copy") else data


def _sha256(path: Path) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            hasher.update(piece)
    return hasher.hexdigest()


def unreadable(kind: str, given: Any, what: str) -> UsageError:
    """The error for data of which a medium cannot be made."""
    return UsageError(f"artifact.add: {kind} cannot be made of a {type(given).__name__}; {what}.")


class Histogram:
    """Counts in buckets.

    Args:
        sequence: the numbers to count.
        np_histogram: counts and edges, as `numpy.histogram` gives them, instead.
        num_bins: how many buckets.

    Raises:
        UsageError: there are no numbers, or too many buckets.
    """

    MAX_LENGTH = BUCKETS_MAX

    def __init__(
        self,
        sequence: Any = None,
        np_histogram: tuple[Any, Any] | None = None,
        num_bins: int = 64,
    ) -> None:
        if np_histogram is None:
            import numpy as np  # noqa: PLC0415 # only scripts that have it call this

            np_histogram = np.histogram(sequence, bins=num_bins)
        if len(np_histogram) != 2:  # noqa: PLR2004 # counts and edges
            raise UsageError("wandb.Histogram: np_histogram is a pair of counts and edges.")
        self.histogram: list[float] = _plain_list(np_histogram[0])
        self.bins: list[float] = _plain_list(np_histogram[1])
        if len(self.histogram) > BUCKETS_MAX or len(self.bins) != len(self.histogram) + 1:
            raise UsageError(
                f"wandb.Histogram: {len(self.histogram)} counts and {len(self.bins)} edges; there "
                f"are at most {BUCKETS_MAX} counts, and one edge more."
            )

    def to_json(self, run: object = None) -> dict[str, Any]:
        """As it stands in a row, or in a cell."""
        del run
        return {"_type": "histogram", "values": self.histogram, "bins": self.bins}


def _plain_list(values: Any) -> list[Any]:
    return list(values.tolist() if hasattr(values, "tolist") else values)
