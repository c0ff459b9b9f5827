"""What a run does with artifacts: logs them, and uses what the server has."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kelt import records
from kelt.artifacts.artifact import Artifact
from kelt.artifacts.logged import LoggedArtifact, manifest_md5, read_end, write_artifact
from kelt.errors import StorageError, UpstreamError, UsageError
from kelt.run_identity import RunIdentity
from kelt.values import encode_json
from kelt.wandb_upstream import is_wandb

if TYPE_CHECKING:
    from kelt.api_client.artifacts import StoredArtifact
    from kelt.api_client.connection import Connection
    from kelt.recording import Recording

_POLL_S = 0.05
_ANSWER_S = 30.0
#: As the server has it.
_NAME, _VERSION = re.compile(r"[^/:\0\ud800-\udfff]{1,256}"), re.compile(r"v\d+")
_UNSAFE, _NAME_CHARS_MAX = re.compile(r"[^a-zA-Z0-9_\-.]"), 128
_METADATA_BYTES_MAX = 4 * 1024 * 1024


class ArtifactsOfRun(RunIdentity):
    """The methods of a run that have to do with artifacts."""

    _recording: Recording
    _require_open: Callable[[str], None]

    def log_artifact(
        self,
        artifact_or_path: Artifact | str | Path,
        name: str | None = None,
        type: str | None = None,  # noqa: A002 # wandb's name
        aliases: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
    ) -> Artifact:
        """Logs an artifact: it is in the run's folder, and goes to the server by itself.

        The server and the network are not waited for (`artifact.wait()` does), only this disk.

        Args:
            artifact_or_path: an artifact, a file, a folder, or an address such as `s3://…`.
            name: of a path's collection; `run-<id>-<file name>` without one.
            type: of a path's artifact; "unspecified" without one.
            aliases: other names of the version; `latest` always points at the newest.
            tags: labels.

        Raises:
            UsageError: what is given cannot be logged.
            StorageError: there is no room for it on this host.
        """
        self._require_open("log_artifact")
        artifact = self._as_artifact(artifact_or_path, name, type)
        said = LoggedArtifact(
            id=secrets.token_hex(16),
            name=artifact.collection,
            type=artifact.type,
            description=artifact.description or "",
            metadata_json=_metadata_json(artifact),
            aliases=_checked_names(aliases, "an alias"),
            tags=_checked_names(tags, "a tag"),
            step=self._recording.rows.highest_step,
            manifest_md5=manifest_md5(artifact.entries),
        )
        place: Path | None = None
        if not self._is_disabled:
            place = self._write(artifact, said)
        artifact.was_logged(_Logging(self, self._connection, said.name, place))
        return artifact

    def use_artifact(
        self,
        artifact_or_name: Artifact | StoredArtifact | str,
        type: str | None = None,  # noqa: A002 # wandb's name
        aliases: Sequence[str] | None = None,
        use_as: str | None = None,
    ) -> StoredArtifact:
        """A version that the server has; it remembers that this run used it.

        Args:
            artifact_or_name: `name:alias`, `name:v3`, with `project/` or `entity/project/` before
                it for another project's; `latest` without an alias. Or an artifact.
            type: refuses one of another type.
            aliases: not part of kelt.
            use_as: accepted from scripts written for wandb; nothing depends on it.

        Raises:
            UsageError: the run is offline, or the type is another.
            RunNotFoundError: there is no such version.
            UpstreamError: the server cannot be reached, or refuses.
        """
        del use_as
        self._require_open("use_artifact")
        if aliases:
            raise UsageError("run.use_artifact: aliases= is not part of kelt; log with aliases=.")
        path = self._path_of(artifact_or_name)
        if not self._is_disabled and self._settings.mode == "offline":
            raise UsageError(
                f"run.use_artifact: {path} is on the server, and this run is offline; use it in an "
                "online run, or download it before."
            )
        from kelt.api_client.artifacts import find_artifact  # noqa: PLC0415 # see _connection

        found = find_artifact(self._connection(), path, type_name=type)
        if not self._is_disabled:
            found.tell_used_by(self.entity or "-", self.project, self.id)
        return found

    def log_model(
        self, path: str | Path, name: str | None = None, aliases: Sequence[str] | None = None
    ) -> Artifact:
        """Logs a file or a folder as an artifact of the type "model"."""
        return self.log_artifact(path, name=name, type="model", aliases=aliases)

    def use_model(self, name: str) -> str:
        """Downloads an artifact of a model's type; returns its folder, or its only file.

        Raises:
            UsageError: its type names no model.
        """
        artifact = self.use_artifact(name)
        if "model" not in artifact.type.lower():
            raise UsageError(f"run.use_model: {name} is of the type {artifact.type!r}.")
        folder = Path(artifact.download())
        found = list(folder.iterdir())
        return str(found[0] if len(found) == 1 else folder)

    def _write(self, artifact: Artifact, said: LoggedArtifact) -> Path:
        payload = records.artifact_logged(
            artifact_id=said.id, name=said.name, type_name=said.type, digest=artifact.digest,
            step=said.step,
        )  # fmt: skip
        if (session := self._session) is None:  # a forked child opens it with its first record
            self._recording.artifact_logged(payload)
            session = self._session
        if session is None:
            raise StorageError(f"The artifact {said.name!r} cannot be kept: the run has no folder.")
        settings = self._settings
        upstream = "" if settings.mode == "offline" else settings.upstream
        contents = artifact.contents(upstream=upstream, entity=self.entity or "")
        place = write_artifact(session.folder, said, entries=artifact.entries, contents=contents)
        session.artifacts.append(place)
        self._recording.artifact_logged(payload)  # at which the daemon looks for it
        return place

    def _as_artifact(
        self, given: Artifact | str | Path, name: str | None, kind: str | None
    ) -> Artifact:
        if isinstance(given, Artifact):
            if name not in {None, given.collection} or kind not in {None, given.type}:
                raise UsageError("run.log_artifact: an Artifact has its own name and type.")
            return given
        path = Path(given)
        is_address = "://" in str(given)
        last = urlsplit(str(given)).path.rpartition("/")[2] if is_address else path.name
        by_default = _UNSAFE.sub("_", f"run-{self.id}-{last}")[:_NAME_CHARS_MAX]
        made = Artifact(name or by_default, kind or "unspecified")
        if is_address:
            made.add_reference(str(given))
        elif path.is_dir():
            made.add_dir(path)
        else:
            made.add_file(path)
        return made

    def _path_of(self, given: Artifact | StoredArtifact | str) -> str:
        if isinstance(given, Artifact):
            given = given.wait().name
        elif not isinstance(given, str):
            return given.qualified_name
        parts = given.split("/")
        if len(parts) == 1:
            return f"{self.entity or '-'}/{self.project}/{given}"
        return given if len(parts) > 2 else f"{self.entity or '-'}/{given}"  # noqa: PLR2004

    def _connection(self) -> Connection:
        from kelt.api_client.api import connect  # noqa: PLC0415 # an HTTP client: few runs need it

        if is_wandb(self._settings.upstream):
            raise UsageError(
                f"Artifacts are used from kelt servers, and {self._settings.upstream} is a W&B "
                "server; download there with wandb.Api()."
            )
        return connect(self._settings, timeout_s=_ANSWER_S)


class _Logging:
    """An artifact on its way from a run's folder to the server."""

    def __init__(
        self, run: RunIdentity, connect: Callable[[], Connection], name: str, place: Path | None
    ) -> None:
        self._run = run
        self._connect = connect
        self._name = name
        self._place = place

    @property
    def is_readable(self) -> bool:
        """As `artifact.Logging` has it."""
        return not is_wandb(self._run.settings.upstream)

    def wait(self, timeout_s: float | None) -> str | None:
        """As `artifact.Logging` has it."""
        place = self._place
        if place is None:
            return None
        if self._run.settings.mode == "offline":
            raise UsageError(
                f"The artifact {self._name!r} cannot be waited for: the run is offline."
            )
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (end := read_end(place.parents[1], place)) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise UpstreamError(
                    f"The server does not have the artifact {self._name!r} after {timeout_s:g} s; "
                    "it is in the run's folder, and the daemon goes on sending it."
                )
            time.sleep(_POLL_S)
        if end.problem:
            raise UpstreamError(f"The artifact {self._name!r} was not delivered: {end.problem}.")
        return end.version

    def stored(self, version: str) -> StoredArtifact:
        """As `artifact.Logging` has it."""
        from kelt.api_client.artifacts import find_artifact  # noqa: PLC0415 # see _connection

        run = self._run
        path = f"{run.entity or '-'}/{run.project}/{self._name}:{version}"
        return find_artifact(self._connect(), path)


def _metadata_json(artifact: Artifact) -> str:
    found = encode_json(artifact.plain_metadata())
    if len(found) > _METADATA_BYTES_MAX:
        raise UsageError(
            f"The metadata of {artifact.name!r} has {len(found)} bytes as JSON, of "
            f"{_METADATA_BYTES_MAX}; put it into a file of the artifact."
        )
    return found


def _checked_names(given: Sequence[str] | None, what: str) -> tuple[str, ...]:
    """Names that the server takes as aliases and tags."""
    names = [given] if isinstance(given, str) else list(given or ())
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or _VERSION.fullmatch(name):
            raise UsageError(
                f"run.log_artifact: {name!r} cannot be {what}: it has 1 to 256 characters, "
                "without / and :, and is no version such as v3."
            )
    return tuple(dict.fromkeys(names))
