"""Carries artifacts to W&B, beside the rows of their runs: nothing here holds up a row.

An artifact goes once its run has begun there, behind those of the sessions before. Its files go in
batches, in the order of their paths; which artifact the server has begun for it, and how many of
its files are there, is noted on the way (`artifact_notes`). After anything breaks off, the server
is asked how far that artifact is, and it is gone on with: what was committed, though the word of it
was lost, is not logged again. An address is asked for anew each time.

What W&B refuses for what it is (an error in an answer, 4xx of a store) begins anew, and after a few
times it is refused for good, which is a loss of the run. Everything else is tried as long as it
takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from kelt.artifacts.logged import content_path
from kelt.artifacts.manifest import Entry, decode_manifest, encode_manifest, manifest_digest
from kelt.journal.files import open_regular
from kelt_daemon.errors import (
    NotYetError,
    OverloadedError,
    RejectedDataError,
    RunRefusedError,
    UpstreamError,
)
from kelt_daemon.host import InThread
from kelt_daemon.upstream import OutgoingArtifact
from kelt_daemon.upstream.wandb import artifact_replies as replies
from kelt_daemon.upstream.wandb import artifact_requests as requests
from kelt_daemon.upstream.wandb.artifact_notes import ArtifactNote, read_note, write_note
from kelt_daemon.upstream.wandb.artifact_replies import ArtifactStanding, FileAddress
from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.carrying import Speaker
from kelt_daemon.upstream.wandb.file_carrying import Putter
from kelt_daemon.upstream.wandb.file_pieces import TRIES_MAX
from kelt_daemon.upstream.wandb.replies import UNREADABLE
from kelt_daemon.upstream.wandb.requests import Question
from kelt_daemon.upstream.wandb.uploading import FileRefusedError

#: A batch: what is put before it is noted, and how much of it at a time.
_FILES_MAX, _BATCH_BYTES_MAX, _PUTS_MAX = 100, 64 * 2**20, 8
_CHUNK_BYTES = 2**20
#: References to files of artifacts that had no other id yet when they were made.
_BY_CLIENT, _BY_SERVER = "wandb-client-artifact://", "wandb-artifact://"
T = TypeVar("T")


class DamagedArtifactError(RejectedDataError):
    """What lies on this host is not what was logged."""


@dataclass(frozen=True, kw_only=True)
class _Artifact:
    """What lies on this host of one: `files` are its entries with a content, by path."""

    outgoing: OutgoingArtifact
    entries: Mapping[str, Entry]
    files: Sequence[Entry]
    digest: str


class ArtifactSender:
    """The way of artifacts to one server; see `ArtifactUpstream`.

    Args:
        url: its address.
        speaker: the server.
        putter: where files go.
        wait_turn: what the server has of the run of a writer, whose artifacts may go.
        in_thread: does work that blocks.
    """

    def __init__(
        self,
        *,
        url: str,
        speaker: Speaker,
        putter: Putter,
        wait_turn: Callable[[bytes], Awaitable[CarriedRun]],
        in_thread: InThread,
    ) -> None:
        self._url = url
        self._speaker = speaker
        self._putter = putter
        self._wait_turn = wait_turn
        self._in_thread = in_thread

    async def log_artifact(self, artifact: OutgoingArtifact) -> str:
        """As in `ArtifactUpstream`."""
        run = await self._wait_turn(artifact.said.writer_id)
        found = await self._in_thread(_read, artifact)
        note = await self._in_thread(read_note, artifact.notes, self._url)
        try:
            return await self._carry(found, run, note)
        except DamagedArtifactError:
            raise
        except (RunRefusedError, RejectedDataError, FileRefusedError) as error:
            refused = ArtifactNote(tries=note.tries + 1)
            await self._keep(artifact, refused)
            if refused.tries < TRIES_MAX:
                raise NotYetError(
                    f"The artifact {artifact.said.name!r} is refused ({error}); it is tried again."
                ) from error
            raise RejectedDataError(str(error)) from error

    async def _carry(self, artifact: _Artifact, run: CarriedRun, note: ArtifactNote) -> str:
        """Returns its version."""
        standing = await self._begun(artifact, run, note)
        if standing.id != note.artifact_id:
            note = replace(note, artifact_id=standing.id, files_put=0)
            await self._keep(artifact.outgoing, note)
        if standing.version:
            return standing.version
        birth_ids = await self._send_files(artifact, run, standing, note)
        await self._send_manifest(artifact, run, standing, birth_ids)
        question = requests.commit_artifact(standing.id)
        return await self._ask(question, replies.read_committed)

    async def _begun(
        self, artifact: _Artifact, run: CarriedRun, note: ArtifactNote
    ) -> ArtifactStanding:
        if note.artifact_id:
            question = requests.ask_artifact(note.artifact_id)
            if (standing := await self._ask(question, replies.read_asked)) is not None:
                return standing
        question = requests.create_artifact(run, artifact.outgoing.said, artifact.digest)
        return await self._ask(question, replies.read_created)

    async def _send_files(
        self, artifact: _Artifact, run: CarriedRun, standing: ArtifactStanding, note: ArtifactNote
    ) -> dict[str, str]:
        """Returns for which artifact the server keeps each."""
        question = requests.create_manifest(run, standing.id, base_id=standing.base_id)
        manifest_id, _ = await self._ask(question, replies.read_manifest)
        birth_ids: dict[str, str] = {}
        put = 0
        for batch in batches(artifact.files):
            question = requests.create_artifact_files(standing.id, manifest_id, batch)
            read = partial(replies.read_file_addresses, count=len(batch))
            pairs = list(zip(batch, await self._ask(question, read), strict=True))
            birth_ids |= {entry.path: at.birth_id or standing.id for entry, at in pairs}
            missing = pairs[max(0, note.files_put - put) :]
            await self._put_all(artifact, missing)
            put += len(batch)
            if missing:
                note = replace(note, files_put=put)
                await self._keep(artifact.outgoing, note)
        return birth_ids

    async def _put_all(
        self, artifact: _Artifact, missing: Sequence[tuple[Entry, FileAddress]]
    ) -> None:
        """Several at a time; raises what went wrong first."""
        failures: list[Exception] = []
        turns = anyio.CapacityLimiter(_PUTS_MAX)

        async def put(md5: str, address: FileAddress) -> None:
            async with turns:
                if not failures:
                    try:
                        await self._put(content_path(artifact.outgoing.place, md5), md5, address)
                    except (UpstreamError, FileRefusedError, OSError) as error:
                        failures.append(error)

        contents = {entry.md5: address for entry, address in missing if address.url}
        async with anyio.create_task_group() as group:
            for md5, address in contents.items():
                group.start_soon(put, md5, address)
        if failures:
            raise failures[0]

    async def _put(self, path: Path, md5: str, address: FileAddress) -> None:
        found, size_bytes = await self._in_thread(_md5_of, path)
        if found != md5:
            raise DamagedArtifactError("a file of it was changed on this host")
        await self._putter.put(address.url, address.headers, path, size_bytes)

    async def _send_manifest(
        self,
        artifact: _Artifact,
        run: CarriedRun,
        standing: ArtifactStanding,
        birth_ids: Mapping[str, str],
    ) -> None:
        entries = await self._resolved(artifact.entries)
        content = await self._in_thread(encode_manifest, entries, birth_ids)
        question = requests.create_manifest(
            run, standing.id, base_id=standing.base_id, content=content
        )
        _, address = await self._ask(question, replies.read_manifest)
        if address.url:
            await self._putter.put(address.url, address.headers, content, len(content))

    async def _resolved(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """With references to other artifacts as the server names those."""
        ids: dict[str, str] = {}
        found = dict(entries)
        for path, entry in entries.items():
            if entry.ref.startswith(_BY_CLIENT):
                client_id, _, inner = entry.ref.removeprefix(_BY_CLIENT).partition("/")
                if client_id not in ids:
                    question = requests.ask_client_id(client_id)
                    ids[client_id] = await self._ask(question, replies.read_server_id)
                if not ids[client_id]:
                    raise RejectedDataError(f"W&B does not have what its {path!r} refers to")
                found[path] = replace(entry, ref=f"{_BY_SERVER}{ids[client_id]}/{inner}")
        return found

    async def _ask(self, question: Question, read: Callable[[Mapping[str, object]], T]) -> T:
        data = await self._speaker.ask(question)
        try:
            return read(data)
        except UNREADABLE as error:
            raise OverloadedError(
                f"W&B's answer on {question.name} cannot be read ({type(error).__name__}: "
                f"{error}); it is asked again."
            ) from error

    async def _keep(self, artifact: OutgoingArtifact, note: ArtifactNote) -> None:
        try:
            await self._in_thread(write_note, artifact.notes, self._url, note)
        except OSError as error:
            raise NotYetError(
                f"What W&B has of an artifact cannot be noted in {artifact.notes} "
                f"({error.strerror or error}); mend that. It is tried again."
            ) from error


def batches(files: Sequence[Entry]) -> Iterator[list[Entry]]:
    """What is asked for, put and noted together: a large file alone."""
    batch: list[Entry] = []
    size_bytes = 0
    for entry in files:
        more_bytes = entry.size_bytes or 0
        if batch and (len(batch) >= _FILES_MAX or size_bytes + more_bytes > _BATCH_BYTES_MAX):
            yield batch
            batch, size_bytes = [], 0
        batch.append(entry)
        size_bytes += more_bytes
    if batch:
        yield batch


def _read(outgoing: OutgoingArtifact) -> _Artifact:
    with open_regular(content_path(outgoing.place, outgoing.said.manifest_md5)) as file:
        entries = decode_manifest(file.read())
    files = [entry for _, entry in sorted(entries.items()) if entry.md5]
    return _Artifact(
        outgoing=outgoing, entries=entries, files=files, digest=manifest_digest(entries)
    )


def _md5_of(path: Path) -> tuple[str, int]:
    hasher, size_bytes = hashlib.md5(usedforsecurity=False), 0
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
            size_bytes += len(chunk)
    return hasher.hexdigest(), size_bytes
