"""What an artifact is made of, while it is being made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kelt.artifacts.adding import checked_path, files_under, references, temporary_name
from kelt.artifacts.manifest import Entry, digest_of_md5, manifest_digest
from kelt.artifacts.objects import AddedObjects, ObjectHolder
from kelt.artifacts.staging import Staging
from kelt.errors import UsageError
from kelt.settings import load_settings

if TYPE_CHECKING:
    from kelt.artifacts.held import HeldContents
    from kelt.media.media import Media

_POLICIES = ("mutable", "immutable")


class ArtifactContents:
    """Files and objects are added to it, until it is logged.

    Contents are read and copied when they are added; later changes of the files make no difference.

    Args:
        name: of the artifact, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._entries: dict[str, Entry] = {}
        self._objects = AddedObjects()
        self._staging: Staging | None = None
        self._held: HeldContents | None = None
        self._is_closed = False

    def add_file(  # noqa: PLR0917 # as above
        self,
        local_path: str | Path,
        name: str | None = None,
        is_tmp: bool | None = False,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        overwrite: bool = False,
    ) -> Entry:
        """Adds a file.

        Args:
            local_path: the file.
            name: its path in the artifact; without one, its name.
            is_tmp: names it by its content: `folder/name.txt` becomes `folder/<MD5>.txt`.
            skip_cache: likewise.
            policy: "immutable" says that nobody writes into the file any more: it is then linked
                and not copied, where the filesystem can.
            overwrite: whether another file of that path may be replaced.

        Raises:
            UsageError: there is no such file, or another of that path.
            StorageError: it cannot be read, or there is no room for a copy.
        """
        del skip_cache
        path = Path(local_path)
        if not path.is_file():
            raise UsageError(f"artifact.add_file: {path} is no file.")
        name = temporary_name(path, name or path.name) if is_tmp else name or path.name
        entry = self._add(path, name, policy=policy, overwrite=overwrite)
        self._objects.files[os.fspath(local_path)] = entry.path
        return entry

    def add_dir(
        self,
        local_path: str | Path,
        name: str | None = None,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        merge: bool = False,
    ) -> None:
        """Adds all files of a folder, and of those in it.

        Args:
            local_path: the folder.
            name: under which its files lie in the artifact; without one, at its root.
            skip_cache: accepted from scripts written for wandb; nothing depends on it.
            policy: as of `add_file`.
            merge: whether files of the same paths may be replaced.

        Raises:
            UsageError: there is no such folder, or another file of a path.
            StorageError: as `add_file`.
        """
        del skip_cache
        root = Path(local_path)
        if not root.is_dir():
            raise UsageError(f"artifact.add_dir: {root} is no folder.")
        for path in files_under(root):
            inner = path.relative_to(root).as_posix()
            self._add(path, f"{name or ''}/{inner}", policy=policy, overwrite=merge)

    @contextlib.contextmanager
    def new_file(
        self,
        name: str,
        mode: str = "x",
        encoding: str | None = None,
        policy: str | None = "mutable",
    ) -> Iterator[IO[Any]]:
        """Opens a new file, which is added as the block ends, unless by an error.

        Raises:
            UsageError: there is another file of that path.
            StorageError: as `add_file`.
        """
        del policy  # what nobody else knows is linked
        self._check_open()
        path = self._staged().new_path()
        try:
            with path.open(mode.replace("x", "w"), encoding=encoding) as file:
                yield file
            self._add(path, name, policy="immutable", overwrite="w" in mode)
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def add_reference(
        self,
        uri: str,
        name: str | None = None,
        checksum: bool = True,
        max_objects: int | None = None,
    ) -> list[Entry]:
        """Adds an address: what is there stays there.

        Of `file://` the files are read for their digests; of any other address it is the digest
        itself, so that what changes behind it is not noticed.

        Args:
            uri: such as `s3://bucket/key` or `file:///data/set`.
            name: its path in the artifact; without one, the last part of the address.
            checksum: False takes the address for the digest of `file://`, too.
            max_objects: accepted from scripts written for wandb; nothing depends on it.

        Raises:
            UsageError: it is no address, or there is another entry of that path.
        """
        del max_objects
        self._check_open()
        found = references(str(uri), name, has_checksum=checksum)
        return [self.keep_entry(entry) for entry in found]

    def add(self, obj: Media, name: str, overwrite: bool = False) -> Entry:
        """Adds a table, a picture or the like, which `get(name)` of the version gives back.

        Args:
            obj: a `kelt.Table`, `Image`, `Audio`, `Video`, `Html`, `Object3D`, `Molecule` or
                `Classes`. Added again, it stays where it is.
            name: its path in the artifact, to which its kind is added: `t` becomes `t.table.json`.
            overwrite: whether another object of that path is replaced; without it, that one stays.

        Raises:
            UsageError: it is no such thing, or cannot be read.
            StorageError: as `add_file`.
        """
        self._check_open()
        return ObjectHolder(self, self._objects).add(obj, name, overwrite)

    def __setitem__(self, name: str, obj: Media) -> None:
        """As `add`."""
        self.add(obj, name)

    def remove(self, item: str | Entry) -> None:
        """Takes an entry out again, or all under a path.

        Raises:
            UsageError: there is none.
        """
        self._check_open()
        path = item.path if isinstance(item, Entry) else checked_path(item)
        found = [known for known in self._entries if known == path or known.startswith(f"{path}/")]
        if not found:
            raise UsageError(f"artifact.remove: there is no {path!r} in {self._name}.")
        for known in found:
            del self._entries[known]

    def _add(self, source: Path, name: str, *, policy: str | None, overwrite: bool) -> Entry:
        self._check_open()
        if policy not in _POLICIES:
            raise UsageError(f"artifact: the policy {policy!r} is none of {', '.join(_POLICIES)}.")
        path = checked_path(name)
        md5, size_bytes = self._staged().add(source, may_link=policy == "immutable")
        entry = Entry(path=path, digest=digest_of_md5(md5), size_bytes=size_bytes)
        return self.keep_entry(entry, overwrite=overwrite)

    def keep_entry(self, entry: Entry, *, overwrite: bool = False) -> Entry:
        """Adds what is known of a file whose content is elsewhere.

        Raises:
            UsageError: there is another of that path.
        """
        known = self._entries.get(entry.path)
        if known is not None and known != entry and not overwrite:
            raise UsageError(
                f"artifact: there is another {entry.path!r} in {self._name} already; give it "
                "another name, or overwrite=True."
            )
        self._entries[entry.path] = entry
        return entry

    def hold(self, held: HeldContents) -> None:
        """Contents of entries may be where these are, instead of here."""
        self._held = held

    def _staged(self) -> Staging:
        if self._staging is None:
            self._staging = Staging(load_settings({}, os.environ).state_dir)
        return self._staging

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError(
                f"The artifact {self._name!r} was logged and is not changed any more; make a new "
                "kelt.Artifact for the next version, or artifact.new_draft()."
            )

    # -- what is in it ----------------------------------------------------------------------------

    @property
    def entries(self) -> dict[str, Entry]:
        """What is in it, by path."""
        return dict(self._entries)

    @property
    def digest(self) -> str:
        """By which equal contents are one version."""
        return manifest_digest(self._entries)

    @property
    def size(self) -> int:
        """In bytes, of all that is in it."""
        return sum(entry.size_bytes or 0 for entry in self._entries.values())

    def contents(self, *, upstream: str = "", entity: str = "") -> dict[str, Path]:
        """Where its contents lie, by MD5.

        Args:
            upstream: to which it goes: what that has need not lie here. Without one, all lies here.
            entity: for whom.

        Raises:
            UpstreamError: what is elsewhere cannot be fetched.
        """
        found: dict[str, Path] = {}
        for entry in self._entries.values():
            if not (md5 := entry.md5):
                continue
            path = self._staged().path(md5)
            if self._held is not None and md5 in self._held.files and not path.exists():
                if upstream and self._held.is_at(upstream, entity):
                    continue
                path = self._held.fetch(md5, self._staged())
            found[md5] = path
        return found
