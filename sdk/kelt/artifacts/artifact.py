"""`kelt.Artifact`: files are added to it, a run logs it, and then it is a version on the server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from kelt.artifacts.contents import ArtifactContents
from kelt.errors import UsageError
from kelt.values import plain_value

if TYPE_CHECKING:
    from kelt.api_client.artifacts import StoredArtifact

_NAME = re.compile(r"[a-zA-Z0-9_\-.]{1,128}")
#: What is asked of the version, once it is known.
_OF_THE_VERSION = frozenset(
    (
        "aliases", "tags", "ttl", "entity", "project", "qualified_name", "delete",
        "get_entry", "get_path", "get", "files", "file", "download", "checkout", "verify",
        "new_draft", "logged_by", "used_by",
    )
)  # fmt: skip


class Logging(Protocol):
    """An artifact on its way to the server."""

    @property
    def is_readable(self) -> bool:
        """Whether the server can be asked for it."""

    def wait(self, timeout_s: float | None) -> str | None:
        """The version that it became; None where nothing is recorded."""

    def stored(self, version: str) -> StoredArtifact:
        """What the server has of it."""


class Artifact(ArtifactContents):
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
            raise UsageError(
                "kelt.Artifact: incremental=True is not part of kelt; go on from a version by "
                'run.use_artifact("name:latest").new_draft().'
            )
        self.type = type
        self.description = description
        self.metadata: dict[str, Any] = dict(metadata or {})
        super().__init__(name)
        self._logging: Logging | None = None
        #: Once it is known.
        self._version: str | None = None
        self._stored: StoredArtifact | None = None

    def __repr__(self) -> str:
        return f"<kelt.Artifact {self.name} of type {self.type}>"

    # -- logging ----------------------------------------------------------------------------------

    def plain_metadata(self) -> Any:
        """The metadata as JSON has it.

        Raises:
            UsageError: a value cannot be stored.
        """
        return plain_value(self.metadata, "metadata", "kelt.Artifact")

    def was_logged(self, logging: Logging) -> None:
        """A run has taken it."""
        self._logging = logging
        self._is_closed = True

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
            self._version = version = self._logging.wait(timeout)
            if version is not None and self._logging.is_readable:
                # With the content of an older version it is that one.
                self._stored = self._logging.stored(version)
                self.description, self.metadata = self._stored.description, self._stored.metadata
        return self

    def save(self) -> None:
        """Has the server change description, metadata, aliases, tags and ttl of the version."""
        stored = self._on_server("save")
        stored.description, stored.metadata = self.description, self.metadata
        stored.save()

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

    def __setattr__(self, name: str, value: Any) -> None:
        """Of the version what may be changed there; `save` has the server change it."""
        if name in {"aliases", "tags", "ttl"}:
            setattr(self._on_server(name), name, value)
        else:
            super().__setattr__(name, value)

    def __getitem__(self, name: str) -> Any:
        """As `get` of the version."""
        return self._on_server("get").get(name)

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
