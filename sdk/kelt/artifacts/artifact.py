"""`kelt.Artifact`: files are added to it, a run logs it, and then it is a version on the server."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from kelt.artifacts.adding import checked_path, files_under, references
from kelt.artifacts.manifest import Entry, digest_of_md5, manifest_digest
from kelt.artifacts.staging import Staging
from kelt.errors import UsageError
from kelt.settings import load_settings
from kelt.values import plain_value

if TYPE_CHECKING:
    from kelt.api_client.artifacts import StoredArtifact
    from kelt.api_client.files import File

_NAME = re.compile(r"[a-zA-Z0-9_\-.]{1,128}")
_POLICIES = ("mutable", "immutable")
#: What is asked of the version, once it is known.
_OF_THE_VERSION = frozenset(
    ("aliases", "tags", "entity", "project", "qualified_name", "logged_by", "file")
)


class Logging(Protocol):
    """An artifact on its way to the server."""

    def wait(self, timeout_s: float | None) -> str | None:
        """The version that it became; None where nothing is recorded."""

    def stored(self, version: str) -> StoredArtifact:
        """What the server has of it."""


class Artifact:
    """What a run logs as a version of `name`, with arguments and methods as wandb's.

    Contents are read and copied when they are added; later changes of the files make no difference.

    Args:
        name: of the collection: letters, digits and `-_.`.
        type: what kind of thing it is, such as "model" or "dataset".
        description: free text.
        metadata: what JSON can say.
        incremental: not part of kelt.
        use_as: accepted from scripts written for wandb, where it has no effect either.

    Raises:
        UsageError: an argument that cannot be.
    """

    def __init__(  # noqa: PLR0917 # wandb's order
        self,
        name: str,
        type: str,  # noqa: A002 # wandb's name
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        incremental: bool = False,
        use_as: str | None = None,
    ) -> None:
        del use_as
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(
                f"kelt.Artifact: {name!r} cannot be a name; it has 1 to 128 letters, digits, "
                "dashes, underscores and dots."
            )
        if not isinstance(type, str) or not type or set("/:") & set(type):
            raise UsageError(
                f"kelt.Artifact: {type!r} cannot be a type; write a word like 'model'."
            )
        if incremental:
            raise UsageError("kelt.Artifact: incremental=True is not part of kelt; add all files.")
        self.type = type
        self.description = description
        self.metadata: dict[str, Any] = dict(metadata or {})
        self._name = name
        self._entries: dict[str, Entry] = {}
        self._staging: Staging | None = None
        self._logging: Logging | None = None
        #: Once it is known.
        self._version: str | None = None
        self._stored: StoredArtifact | None = None

    def __repr__(self) -> str:
        return f"<kelt.Artifact {self.name} of type {self.type}>"

    # -- adding -----------------------------------------------------------------------------------

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
            is_tmp: accepted from scripts written for wandb; nothing depends on it.
            skip_cache: likewise.
            policy: "immutable" says that nobody writes into the file any more: it is then linked
                and not copied, where the filesystem can.
            overwrite: whether another file of that path may be replaced.

        Raises:
            UsageError: there is no such file, or another of that path.
            StorageError: it cannot be read, or there is no room for a copy.
        """
        del is_tmp, skip_cache
        path = Path(local_path)
        if not path.is_file():
            raise UsageError(f"artifact.add_file: {path} is no file.")
        return self._add(path, name or path.name, policy=policy, overwrite=overwrite)

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
        return [self._keep(entry, overwrite=False) for entry in found]

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
        return self._keep(entry, overwrite=overwrite)

    def _keep(self, entry: Entry, *, overwrite: bool) -> Entry:
        known = self._entries.get(entry.path)
        if known is not None and known != entry and not overwrite:
            raise UsageError(
                f"artifact: there is another {entry.path!r} in {self._name} already; give it "
                "another name, or overwrite=True."
            )
        self._entries[entry.path] = entry
        return entry

    def _staged(self) -> Staging:
        if self._staging is None:
            self._staging = Staging(load_settings({}, os.environ).state_dir)
        return self._staging

    def _check_open(self) -> None:
        if self._logging is not None:
            raise UsageError(
                f"The artifact {self._name!r} was logged and is not changed any more; make a new "
                "kelt.Artifact for the next version."
            )

    # -- logging ----------------------------------------------------------------------------------

    @property
    def entries(self) -> dict[str, Entry]:
        """What is in it, by path."""
        return dict(self._entries)

    def contents(self) -> dict[str, Path]:
        """Where its contents lie, by MD5."""
        md5s = [entry.md5 for entry in self._entries.values() if entry.md5]
        return {md5: self._staged().path(md5) for md5 in md5s}

    def plain_metadata(self) -> Any:
        """The metadata as JSON has it.

        Raises:
            UsageError: a value cannot be stored.
        """
        return plain_value(self.metadata, "metadata", "kelt.Artifact")

    def was_logged(self, logging: Logging) -> None:
        """A run has taken it."""
        self._logging = logging

    def is_draft(self) -> bool:
        """Whether it is no version yet, as far as is known here."""
        return self._version is None

    def wait(self, timeout: float | None = None) -> Artifact:
        """Waits until the server has it; then it knows its version.

        Args:
            timeout: in seconds; None: until then.

        Raises:
            UsageError: it was not logged, or by an offline run.
            UpstreamError: it could not be delivered, or not in time.
        """
        if self._version is None:
            if self._logging is None:
                raise UsageError(
                    f"The artifact {self._name!r} was not logged; call run.log_artifact first."
                )
            self._version = self._logging.wait(timeout)
        return self

    # -- what it is -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The collection's name; with the version, once that is known."""
        return self._name if self._version is None else f"{self._name}:{self._version}"

    @property
    def collection(self) -> str:
        """The name without a version."""
        return self._name

    @property
    def digest(self) -> str:
        """By which equal contents are one version."""
        return manifest_digest(self._entries)

    @property
    def size(self) -> int:
        """In bytes, of all that is in it."""
        return sum(entry.size_bytes or 0 for entry in self._entries.values())

    @property
    def state(self) -> str:
        """PENDING or COMMITTED."""
        return "PENDING" if self._version is None else "COMMITTED"

    @property
    def version(self) -> str:
        """Such as `v3`, once it is known.

        Raises:
            UsageError: it is not.
        """
        return self._known("version")[1]

    def __getattr__(self, name: str) -> Any:
        """What only the server knows: `_OF_THE_VERSION`."""
        if name.startswith("_") or name not in _OF_THE_VERSION:
            raise AttributeError(f"kelt.Artifact has no {name!r}")
        return getattr(self._on_server(name), name)

    def _known(self, what: str) -> tuple[Logging, str]:
        if self._logging is None or self._version is None:
            raise UsageError(
                f"artifact.{what} is not known before the server has {self._name!r}; call "
                "artifact.wait() after run.log_artifact(artifact)."
            )
        return self._logging, self._version

    def _on_server(self, what: str) -> StoredArtifact:
        if self._stored is None:
            logging, version = self._known(what)
            self._stored = logging.stored(version)
        return self._stored

    def get_entry(self, name: str) -> File:
        """A file of the version, to be downloaded."""
        return self._on_server("get_entry").get_entry(name)

    get_path = get_entry

    def files(self) -> list[File]:
        """The files of the version."""
        return self._on_server("files").files()

    def download(self, root: str | Path | None = None) -> str:
        """Fetches the version's files into a folder, and returns the folder."""
        return self._on_server("download").download(root)
