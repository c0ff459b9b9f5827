"""Tables, pictures and the like on their way into an artifact (format: `kelt.media`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Protocol

from kelt.artifacts.adding import DIGITS, checked_path
from kelt.artifacts.manifest import Entry
from kelt.errors import KeltError, UsageError
from kelt.media.media import Media
from kelt.media.reading import encode_document

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Taking(Protocol):
    """What takes files: an artifact that is not logged yet."""

    @property
    def entries(self) -> dict[str, Entry]:
        """What is in it, by path."""

    def add_file(self, local_path: str, name: str | None = None) -> Entry:
        """A file."""

    def add_reference(self, uri: str, name: str | None = None) -> list[Entry]:
        """An address."""

    def keep_entry(self, entry: Entry, *, overwrite: bool = False) -> Entry:
        """What is kept elsewhere."""

    def new_file(self, name: str, mode: str = "x") -> AbstractContextManager[IO[Any]]:
        """A file that is to be written."""


@dataclass
class AddedObjects:
    """What objects of one artifact refer to. Mutable state."""

    #: By identity; the objects are kept, so that no other gets the same.
    entries: dict[int, tuple[Any, Entry]] = field(default_factory=dict)
    #: Files of the user's that are in the artifact, by where they lie on the disk.
    files: dict[str, str] = field(default_factory=dict)


class ObjectHolder:
    """Puts objects into an artifact, and what belongs to them (`kelt.media.media.Holder`).

    Args:
        artifact: takes their files.
        added: what is in it already.
    """

    def __init__(self, artifact: Taking, added: AddedObjects) -> None:
        self._artifact = artifact
        self._added = added

    def add(self, obj: Any, name: str, overwrite: bool = False) -> Entry:
        """See `Artifact.add`."""
        if not isinstance(obj, Media) or not obj.log_type:
            raise UsageError(
                f"artifact.add: a {type(obj).__name__} is no Table, Image, Audio, Video, Html, "
                "Object3D, Molecule or Classes; write it into a file, and use add_file."
            )
        if (known := self._added.entries.get(id(obj))) is not None:
            return known[1]
        path = obj.file_name(checked_path(name))
        if (origin := obj.origin) is not None:
            referred = Entry(path=path, digest=origin.digest, size_bytes=0, ref=origin.address)
            return self._artifact.keep_entry(referred, overwrite=overwrite)
        try:
            document = obj.document(self)
        except KeltError:
            raise
        except Exception as error:  # libraries fail in their own ways
            kind = type(obj).__name__
            raise UsageError(
                f"artifact.add: the {kind} {name!r} cannot be read ({error})."
            ) from error
        entry = self._artifact.entries.get(path)
        if entry is None or overwrite:
            self._write(encode_document(document), path)
            entry = self._artifact.entries[path]
            self._added.entries[id(obj)] = (obj, entry)
        return entry

    def hold_file(self, path: str, name: str) -> str:
        """A file of the user's."""
        if (known := self._added.files.get(path)) is not None:
            return known
        return self._artifact.add_file(path, name).path

    def hold_address(self, uri: str, name: str) -> str:
        """What stays where it is."""
        return self._artifact.add_reference(uri, name)[0].path

    def hold_bytes(self, data: bytes, folder: str, suffix: str) -> str:
        """What was made of data; its name follows from it."""
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        path = f"{folder}/{md5[:DIGITS]}{suffix}"
        self._write(data, path)
        return path

    def _write(self, data: bytes, path: str) -> None:
        with self._artifact.new_file(path, "wb") as file:
            file.write(data)
