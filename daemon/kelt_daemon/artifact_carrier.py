"""Carries the artifacts of one run folder upstream, in the order in which they were logged.

They lie in the run folder (`kelt.artifacts`), whole, from before their record comes until it is
written there what became of them, so nothing is remembered but that. How an artifact gets to a
server, and how that is taken up after it broke off, is the adapter's business (`ArtifactUpstream`).

Rows go their own way meanwhile. What is refused for good, or cannot be read any more, becomes a
loss of the run, with its reason; everything else is tried again.
"""

from __future__ import annotations

import errno
from pathlib import Path

import anyio
import structlog

from kelt.artifacts.logged import (
    End,
    LoggedArtifact,
    end_path,
    read_said,
    remove_contents,
    sweep_ended,
    waiting,
    write_end,
)
from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import (
    RejectedDataError,
    RunGoneError,
    UnreachableError,
    UpstreamError,
)
from kelt_daemon.host import Host
from kelt_daemon.retry import Backoff
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.upstream import ArtifactUpstream, OutgoingArtifact
from kelt_proto.v1.upstream_pb2 import LogArtifactRequest

log = structlog.get_logger()
_LOOK_S = 5.0
#: How it is told that a file is not there, or no file.
_FOR_GOOD = frozenset({errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.EISDIR})


class ArtifactCarrier:
    """The way upstream of one run folder's artifacts.

    Args:
        folder: the run folder.
        committer: makes durable what is said of a loss.
        host: chance and threads.
        config: intervals.
        turns: bounds how many artifacts are on their way at a time.
    """

    def __init__(
        self,
        *,
        folder: RunFolder,
        committer: GroupCommitter,
        host: Host,
        config: DaemonConfig,
        turns: anyio.CapacityLimiter,
    ) -> None:
        self._folder = folder
        self._committer = committer
        self._host = host
        self._turns = turns
        self._backoff = Backoff(min_s=config.backoff_s_min, max_s=config.backoff_s_max)

    async def run(self) -> None:
        """Until the folder is over and none waits."""
        folder = self._folder
        if folder.home == folder.path:
            await self._host.in_thread(sweep_ended, folder.path)
        while True:
            news = folder.artifact_news.next()
            places, link = await self._look(), folder.link
            if folder.is_over and not places:
                return
            if not places:
                await news.wait()
            elif folder.is_held or folder.problem:
                await folder.changed.wait()
            else:
                with anyio.move_on_after(_LOOK_S):  # it may be sent elsewhere meanwhile
                    await link.wait_ready()
                if link.is_ready and link is folder.link:
                    await self._try(places[0], link.upstream.artifacts)

    async def _look(self) -> list[Path]:
        folder = self._folder
        places = await self._host.in_thread(waiting, folder.path, folder.home)
        if len(places) != folder.artifacts_waiting:
            folder.artifacts_waiting = len(places)
            folder.changed.notify()
        return places

    async def _try(self, place: Path, upstream: ArtifactUpstream) -> None:
        name = place.name
        try:
            said = await self._host.in_thread(read_said, place)
            name = said.name
            async with self._turns:
                version = await upstream.log_artifact(self._outgoing(place, said))
        except (RejectedDataError, RunGoneError) as error:
            await self._end(place, name, End(problem=str(error)))
        except ValueError as error:
            await self._end(place, name, End(problem=f"what was said of it is damaged: {error}"))
        except UnreachableError as error:  # which is told of the upstream
            await self._rest(retry_after_s=error.retry_after_s)
        except UpstreamError as error:
            await self._rest(str(error), retry_after_s=getattr(error, "retry_after_s", None))
        except OSError as error:
            reason = f"a file of it cannot be read ({error.strerror or error})"
            if error.errno in _FOR_GOOD and self._folder.is_on_this_machine:
                await self._end(place, name, End(problem=reason))
            else:  # of a copy perhaps not there yet
                await self._rest(f"The artifact {name!r} waits: {reason}; it is tried again.")
        else:
            self._backoff = self._backoff.succeeded()
            await self._end(place, name, End(version=version))

    def _outgoing(self, place: Path, said: LoggedArtifact) -> OutgoingArtifact:
        folder, manifest = self._folder, self._folder.manifest
        request = LogArtifactRequest(
            id=said.id,
            writer_id=folder.writer_id,
            entity=manifest.entity,
            project=manifest.project,
            run_id=manifest.run_id,
            name=said.name,
            type=said.type,
            description=said.description,
            metadata_json=said.metadata_json,
            aliases=said.aliases,
            tags=said.tags,
            step=said.step,
            manifest_md5=said.manifest_md5,
        )
        notes = end_path(folder.home, place).parent
        return OutgoingArtifact(said=request, place=place, notes=notes)

    async def _rest(self, problem: str = "", *, retry_after_s: float | None = None) -> None:
        """Until it may work, or somebody asks."""
        folder = self._folder
        if folder.artifacts_problem != problem:
            folder.artifacts_problem = problem
            folder.changed.notify()
            if problem:
                log.warning("artifact_waits", run=folder.manifest.run_id, reason=problem)
        self._backoff = self._backoff.failed()
        delay_s = self._backoff.delay_s(chance=self._host.chance(), retry_after_s=retry_after_s)
        await folder.nudged.wait_at_most(delay_s)

    async def _end(self, place: Path, name: str, end: End) -> None:
        """Says what became of one, before its contents go."""
        folder = self._folder
        try:
            await self._host.in_thread(write_end, folder.home, place, end)
        except OSError as error:
            await self._rest(f"{folder.home} cannot be written ({error.strerror}); make room.")
            return
        folder.artifacts_problem = ""
        if end.version:
            log.info(
                "artifact_committed",
                run=folder.manifest.run_id,
                artifact=f"{name}:{end.version}",
            )
            if folder.home == folder.path:
                await self._host.in_thread(remove_contents, place)
        else:
            log.error(
                "artifact_lost",
                run=folder.manifest.run_id,
                artifact=name,
                folder=str(place),
                reason=end.problem,
            )
            folder.assert_loss(0, f"the artifact {name!r} was not delivered: {end.problem}")
            self._committer.submit(folder)
        await self._look()
