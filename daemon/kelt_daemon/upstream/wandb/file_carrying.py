"""Carries the files of one run to W&B, behind its rows: what fails here holds up no row.

A file goes to the address that W&B names for it, and what went is told in a post: of a run that
ends, in its last one. An address is asked for anew each time, and a file that is sent again
replaces itself. What a store refuses for what it is (4xx) is tried a few times and then told as
lost; everything else is tried as long as it takes, and the run counts as on its way. What is made
of a run (`made_files`) is given up instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from kelt.installed_packages import read_requirements
from kelt_daemon.errors import (
    NotYetError,
    OverloadedError,
    RejectedDataError,
    RunRefusedError,
)
from kelt_daemon.host import InThread
from kelt_daemon.upstream.wandb import requests
from kelt_daemon.upstream.wandb.carried_run import CarriedFile, CarriedRun
from kelt_daemon.upstream.wandb.carrying import Speaker
from kelt_daemon.upstream.wandb.file_pieces import (
    TRIES_MAX,
    Piece,
    due_files,
    lose_file,
    put_off,
)
from kelt_daemon.upstream.wandb.file_spool import FileSpool
from kelt_daemon.upstream.wandb.folding import Folded
from kelt_daemon.upstream.wandb.made_files import make_files
from kelt_daemon.upstream.wandb.output_lines import texts_of
from kelt_daemon.upstream.wandb.output_log import OutputLog
from kelt_daemon.upstream.wandb.replies import UNREADABLE, Addresses, read_addresses
from kelt_daemon.upstream.wandb.uploading import FileRefusedError

_REFUSALS = (RunRefusedError, RejectedDataError)


class Putter(Protocol):
    """Sends files; see `Uploader`."""

    async def put(
        self, url: str, headers: Mapping[str, str], source: Path | bytes, size_bytes: int
    ) -> None:
        """Sends one."""


class FileCarrier:
    """The way of one run's files.

    Args:
        run: as far as it is.
        folder: the run folder.
        spool: where files lie meanwhile.
        output: what becomes one of them.
        speaker: the server.
        putter: where files go.
        wait_turn: raises unless those of the run that go first are there.
        keep: makes `run` as it stands durable.
        in_thread: does work that blocks.
    """

    def __init__(
        self,
        *,
        run: CarriedRun,
        folder: Path,
        spool: FileSpool,
        output: OutputLog,
        speaker: Speaker,
        putter: Putter,
        wait_turn: Callable[[], Awaitable[None]],
        keep: Callable[[], Awaitable[None]],
        in_thread: InThread,
    ) -> None:
        self._run = run
        self._folder = folder
        self._spool = spool
        self._output = output
        self._speaker = speaker
        self._putter = putter
        self._wait_turn = wait_turn
        self._keep = keep
        self._in_thread = in_thread
        #: What is there, and is to be told with the end.
        self.uploaded: list[str] = []

    async def store(self, folded: Folded) -> None:
        """Puts down what becomes files; one for which the disk has no room is lost."""
        run = self._run
        if folded.pieces:
            await self._store(folded.pieces)
        if folded.console and run.may_end and not run.has_output_file:
            lines = texts_of(folded.console)
            with contextlib.suppress(OSError):  # W&B has the lines themselves
                await self._in_thread(self._output.add, len(run.branches), lines)

    async def _store(self, pieces: Sequence[Piece]) -> None:
        run = self._run
        for key, error in (await self._in_thread(self._spool.write, pieces)).items():
            if (file := run.files.get(key)) is not None:
                reason = f"no room for it on this host ({error.strerror or error})"
                lose_file(run, key, file.name, reason)
            await self._in_thread(self._spool.remove, key)

    async def make(self) -> None:
        """Puts down what is made of a run that ends."""
        run = self._run
        if not (run.is_begun and run.tells_end) or run.has_made_files:
            return
        output = ""
        if not run.has_output_file:
            output = await self._in_thread(self._output.text, len(run.branches))
        run.has_made_files = run.has_output_file = True
        packages = await self._in_thread(read_requirements, self._folder)
        await self._store(await self._in_thread(lambda: list(make_files(run, output, packages))))
        await self._keep()
        await self._in_thread(self._output.remove)

    @property
    def is_due(self) -> bool:
        """Whether something can be sent."""
        return self._run.is_begun and bool(due_files(self._run))

    async def send(self) -> None:
        """Sends what is whole.

        Raises:
            NotYetError: something is left, for later.
            UpstreamError: the server is not to be had.
        """
        while batch := due_files(self._run):
            if not self._run.is_shared:  # its writers wait for nobody
                await self._wait_turn()
            failure = await self._send(batch)
            if failure is not None:
                raise failure

    async def _send(self, batch: Mapping[str, CarriedFile]) -> NotYetError | None:
        run = self._run
        gone: list[str] = []
        sent: list[str] = []
        failure: NotYetError | None = None
        addresses = await self._addresses([file.name for file in batch.values()])
        for key, file in batch.items():
            try:
                await self._put(key, file, addresses)
                sent.append(file.name)
                gone.append(key)
            except FileRefusedError as error:
                failure = self._refused(key, file, str(error)) or failure
                gone += [] if key in run.files else [key]
            except NotYetError as error:
                put_off(run, key)
                failure, given_up = error, self._tried_again()
                gone += given_up
                break
        await self._tell(sent)
        for key in gone:
            run.files.pop(key, None)
        await self._keep()
        for key in gone:
            await self._in_thread(self._spool.remove, key)
        return failure

    async def _addresses(self, names: Sequence[str]) -> Addresses:
        try:
            data = await self._speaker.ask(requests.create_files(self._run, names))
        except _REFUSALS as error:
            return Addresses(problem=str(error))
        try:
            return read_addresses(data)
        except UNREADABLE as error:
            raise OverloadedError(f"W&B's answer on files cannot be read ({error}).") from error

    async def _put(self, key: str, file: CarriedFile, addresses: Addresses) -> None:
        url = addresses.urls.get(file.name)
        if url is None:
            raise FileRefusedError(addresses.problem or "W&B names no address for it")
        if not await self._in_thread(self._spool.is_intact, key, file):
            file.tries = TRIES_MAX
            raise FileRefusedError("it is damaged, or gone, on this host")
        await self._putter.put(url, addresses.headers, self._spool.path(key), file.size_bytes)

    def _refused(self, key: str, file: CarriedFile, reason: str) -> NotYetError | None:
        """Counts; a file that is refused again and again is lost."""
        file.tries += 1
        if file.tries < TRIES_MAX:
            put_off(self._run, key)
            return NotYetError(f"The file {file.name!r} is refused ({reason}); it is tried again.")
        lose_file(self._run, key, file.name, reason)
        return None

    def _tried_again(self) -> list[str]:
        """Counts for what is made, all of it together, and gives it up after a while."""
        made = [(key, file) for key, file in self._run.files.items() if file.is_made]
        for _, file in made:
            file.tries += 1
        return [key for key, file in made if file.tries >= TRIES_MAX]

    async def _tell(self, sent: Sequence[str]) -> None:
        """Says what is there, unless the run has ended: a post would have it go on."""
        run = self._run
        if run.exit_code is not None:
            self.uploaded += sent
        if not sent or run.exit_code is not None:
            return
        # They are there, told or not.
        with contextlib.suppress(*_REFUSALS):
            await self._speaker.stream(run, requests.uploaded(sent))
