"""Which of a session's output is there already: console lines and system samples.

A console line is known again by its number, a system sample by its millisecond. Asked of the stores
only where a session repeats an older one, or a post overlaps what was taken.
"""

from __future__ import annotations

from dataclasses import replace

from kelt_server.reader import RunReader
from kelt_server.wandb_api.keeping import SessionKeeper
from kelt_server.wandb_api.output_lines import Output, held, merged, without
from kelt_server.wandb_api.sessions import Phase, Session


class Outputs:
    """Asks the stores, for the door."""

    def __init__(self, *, kept: SessionKeeper, reader: RunReader) -> None:
        self._kept = kept
        self._reader = reader

    async def sifted(self, session: Session, output: Output) -> Output:
        """What this session has not taken yet, and the one that it repeats did not have."""
        is_over = session.phase is Phase.ENDED
        there = session.console_lines if is_over else session.console_there
        doubtful = [
            sample.at
            for index, sample in enumerate(output.samples, output.first_sample)
            if index < session.samples or sample.at <= session.samples_until
        ]
        times: set[int] = set()
        if doubtful:
            times = await self._kept.read(
                lambda: self._reader.rows.sample_times(
                    *session.name, at_min=min(doubtful), at_max=max(doubtful)
                )
            )
        return without(output, lines_below=there, times=times)

    async def with_held(self, session: Session, output: Output) -> tuple[Session, Output]:
        """What came while a session was only announced goes before what comes now."""
        if session.held:
            output = merged(held(session.held), output)
            session = replace(session, held={})
        if session.phase is Phase.REPEATING:
            if not session.samples_until:
                session = await self._marked(session)
            output = await self.sifted(session, output)
        return session, output

    async def _marked(self, session: Session) -> Session:
        """A session that repeats another, knowing what that one has."""

        def look() -> tuple[int, float]:
            console = self._reader.consoles.end_number([session.branch_id])
            return console, self._reader.rows.samples_until(*session.name)

        console, until = await self._kept.read(look)
        return replace(session, console_there=console, samples_until=max(until, 1.0))


def taken(session: Session, output: Output, posted: Output) -> Session:
    """The session once output is taken; `posted` is all that the post had."""
    end_sample = posted.first_sample + len(posted.samples)
    return replace(
        session,
        console_lines=max(session.console_lines, output.end_number, posted.end_number),
        samples=max(session.samples, end_sample if posted.samples else 0),
    )
