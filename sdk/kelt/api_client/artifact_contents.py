"""What is in a version of an artifact: files to be fetched, and objects made of them."""

from __future__ import annotations

import base64
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelt.api_client.artifact_facts import VersionFacts
from kelt.api_client.errors import QueryError
from kelt.api_client.files import File, read_files
from kelt.artifacts.held import HeldContents
from kelt.artifacts.manifest import Entry, digest_of_md5
from kelt.artifacts.staging import md5_of
from kelt.errors import KeltError, StorageError, UsageError
from kelt.media.media import Media, Origin, is_address
from kelt.media.reading import document_names, of_document

if TYPE_CHECKING:
    from kelt.api_client.artifacts import StoredArtifact
    from kelt.artifacts.artifact import Artifact

#: What reading a document may raise that describes no object.
_DAMAGED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


class ContentsOfArtifact(VersionFacts):
    """The contents of a version, which never change."""

    description: str | None
    metadata: dict[str, Any]

    def _other(self, name: str) -> StoredArtifact:
        """Another version of the same server's."""
        raise NotImplementedError

    @functools.cached_property
    def _files(self) -> dict[str, File]:
        found = read_files(
            self._connection, self._route, f"{self._route}/files", home=Path("artifacts", self.name)
        )
        return {file.path: file for file in found}

    def files(self) -> list[File]:
        """Its files, by path."""
        return list(self._files.values())

    def get_entry(self, name: str) -> File:
        """One of its files, by path, or by the name of the object that it describes.

        Raises:
            KeyError: there is none.
        """
        for path in (name, *document_names(name)):
            if (found := self._files.get(path)) is not None:
                return found
        raise KeyError(f"there is no {name!r} in {self.name}")

    get_path = get_entry

    def get(self, name: str) -> Any:
        """The table, the picture or the like that was added under a name; None where none was.

        What belongs to it is fetched into `artifacts/<name>:<version>`, unless it is there.

        Raises:
            QueryError: it is damaged, or refers to another artifact that the server does not have.
        """
        path = next((path for path in document_names(name) if path in self._files), None)
        if path is None:
            return None
        if (of := self._files[path].of) is None:
            return self._object(path)
        artifact, path = of
        return self._other(artifact)._object(path)  # noqa: SLF001 # of the same class

    def _object(self, path: str) -> Any:
        """What a document describes, which is in this version itself."""
        if self.get_entry(path).ref is not None:
            raise QueryError(f"{path!r} of {self.name} is a reference, to which nothing refers.")
        content = self.fetched(path).read_bytes()
        try:
            found = of_document(json.loads(content), self)
        except KeltError:
            raise
        except _DAMAGED as error:
            kind = type(error).__name__
            raise QueryError(
                f"{path!r} of {self.name} is damaged ({kind}: {error}); fetch it as it is with "
                "get_entry(name).download(), or log it again."
            ) from error
        if isinstance(found, Media):
            address = f"wandb-artifact://{base64.b64decode(self.id).hex()}/{path}"
            found.origin = Origin(address=address, digest=self._files[path].digest)
        return found

    def __getitem__(self, name: str) -> Any:
        """As `get`."""
        return self.get(name)

    def located(self, path: str) -> str:
        """Where one of its files lies: on this disk, or at its address."""
        ref = self.get_entry(path).ref
        return ref if ref is not None and is_address(ref) else str(self.fetched(path))

    def fetched(self, path: str) -> Path:
        """One of its files, on this disk."""
        file = self.get_entry(path)
        target = file.place_in(file.home or Path())
        if target.is_file() and _digest(target) == file.digest:
            return target
        return file.download()

    def download(
        self,
        root: str | Path | None = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: str | None = None,
        multipart: bool | None = None,
    ) -> str:
        """Fetches all that the server keeps of it into a folder, and returns the folder.

        What lies there under the same names is replaced.

        Args:
            root: the folder; `artifacts/<name>:<version>` without one.
            allow_missing_references: accepted from scripts written for wandb, without effect.
            skip_cache: likewise: there is no cache.
            path_prefix: of the files that are wanted, where not all are.
            multipart: likewise.

        Raises:
            StorageError: a file cannot be written.
        """
        del allow_missing_references, skip_cache, multipart
        folder = Path("artifacts", self.name) if root is None else Path(root)
        for file in self.files():
            if not file.is_elsewhere and file.path.startswith(path_prefix or ""):
                file.download(folder, replace=True)
        return str(folder)

    def new_draft(self) -> Artifact:
        """An artifact of the same name with what is in this version, to be changed and logged.

        What is on the server is not sent again.
        """
        from kelt.artifacts.artifact import Artifact  # noqa: PLC0415 # which knows this module

        draft = Artifact(self.collection, self.type, self.description, self.metadata)
        for file in self.files():
            size_bytes = None if file.is_elsewhere and not file.size_bytes else file.size_bytes
            draft.keep_entry(
                Entry(path=file.path, digest=file.digest, size_bytes=size_bytes, ref=file.ref or "")
            )
        entries = draft.entries
        is_default = self._connection.get("/viewer")["entity"] == self.entity
        draft.hold(
            HeldContents(
                files={entries[file.path].md5: file for file in self.files() if file.ref is None},
                upstream=self._connection.upstream,
                entities=frozenset((self.entity, "") if is_default else (self.entity,)),
            )
        )
        return draft

    def checkout(self, root: str | Path | None = None) -> str:
        """As `download`, and removes from the folder what is not in the version.

        Args:
            root: the folder; `artifacts/<name>` without one.

        Raises:
            QueryError: the name is that of another folder.
            StorageError: a file cannot be written.
        """
        if root is None and not self.collection.strip("."):
            raise QueryError(f"artifact.checkout: {self.name} wants a root of its own.")
        folder = Path("artifacts", self.collection) if root is None else Path(root)
        for path in _files_in(folder):
            if path not in self._files:
                (folder / path).unlink()
        return self.download(folder)

    def verify(self, root: str | Path | None = None) -> None:
        """Compares a folder with the version; what is kept elsewhere is not looked at.

        Raises:
            UsageError: there is another file in the folder, or one has another content.
        """
        folder = Path("artifacts", self.name) if root is None else Path(root)
        for path in _files_in(folder):
            if path not in self._files:
                raise UsageError(f"artifact.verify: {folder / path} is not in {self.name}.")
        for file in self.files():
            if not file.is_elsewhere and _digest(folder / file.path) != file.digest:
                raise UsageError(
                    f"artifact.verify: {folder / file.path} is not what {self.name} has."
                )

    def file(self, root: str | Path | None = None) -> str:
        """Fetches its only file, and returns where it lies.

        Raises:
            QueryError: it has none, or several.
        """
        found = self.files()
        if len(found) != 1:
            raise QueryError(f"{self.name} has {len(found)} files; use download() or get_entry().")
        return str(Path(self.download(root), found[0].path))


def _digest(path: Path) -> str:
    """As manifests have it; empty where there is no such file."""
    try:
        md5, _ = md5_of(path)
    except StorageError:
        return ""
    return digest_of_md5(md5)


def _files_in(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()
    ]
