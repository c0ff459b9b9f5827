"""A trainer with a record of its own: what `log()` returned from, and what it was told.

    python kill_point_trainer.py RECORD PROJECT PART…

Parts: `base` (rows, a config, several segments, a rewind in mid-training), `fork` (of base), `back`
(a rewind of base by a new session). Each line of the record is written when its event is over:

    open PART IMMUTABLE_ID WRITER_ID · row PART STEP VALUE · rewound PART IMMUTABLE_ID STEP
    told WRITER_ID DURABLE COMMITTED · done PART

The trainer waits a little for acknowledgements between bursts of rows, so that a short run goes
through many batches, segments and commits; it goes on without them when they do not come.
"""

from __future__ import annotations

import os
import sys
import time

import kelt

BURST_ROWS = 60
BURSTS = 12
REWIND_AFTER = 9
REWIND_TO = 399
FORK_AT = 199
BACK_TO = 99
BRANCH_ROWS = 40
#: The first burst waits for the daemon to start; later ones run ahead of one that died.
FIRST_ACK_S = 5.0
ACK_S = 0.4


class Record:
    """The file that tells what happened, one write for each line."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def line(self, *words: object) -> None:
        os.write(self._fd, (" ".join(map(str, words)) + "\n").encode())


def log_rows(run: kelt.Run, record: Record, part: str, count: int, value: int) -> int:
    for _ in range(count):
        step = run.step
        run.log({"i": value, "x": value * 0.5})
        record.line("row", part, step, value)
        value += 1
    return value


def listen(run: kelt.Run, record: Record, *, is_first: bool = False) -> None:
    """Until all but the last burst is acknowledged, or for a while."""
    session = run._session  # what the SDK was told is the oracle's business
    end = time.monotonic() + (FIRST_ACK_S if is_first else ACK_S)
    wanted = session.spool.seq - (0 if is_first else BURST_ROWS)
    while session.sender.state.durable_through < wanted and time.monotonic() < end:
        time.sleep(0.002)
    state = session.sender.state
    record.line(
        "told", session.spool.writer_id.hex(), state.durable_through, state.committed_through
    )


def opened(run: kelt.Run, record: Record, part: str) -> kelt.Run:
    record.line("open", part, run.immutable_id, run._session.spool.writer_id.hex())
    return run


def base(project: str, record: Record) -> None:
    run = opened(kelt.init(project, id="base", config={"lr": 0.1}), record, "base")
    value = 0
    for burst in range(BURSTS):
        value = log_rows(run, record, "base", BURST_ROWS, value)
        listen(run, record, is_first=burst == 0)
        if burst == 2:
            run.config["width"] = 8
        if burst == REWIND_AFTER:
            run.rewind(REWIND_TO)
            record.line("rewound", "base", run.immutable_id, REWIND_TO)
    run.finish()


def fork(project: str, record: Record) -> None:
    options = {"id": "fork", "fork_from": f"base?_step={FORK_AT}", "config": {"lr": 0.2}}
    run = opened(kelt.init(project, **options), record, "fork")
    log_rows(run, record, "fork", BRANCH_ROWS, 10_000)
    listen(run, record)
    run.finish()


def back(project: str, record: Record) -> None:
    run = kelt.init(project, id="base", resume_from=f"base?_step={BACK_TO}")
    opened(run, record, "back")
    log_rows(run, record, "back", BRANCH_ROWS, 20_000)
    listen(run, record)
    run.finish()


def main() -> None:
    record = Record(sys.argv[1])
    for part in sys.argv[3:]:
        {"base": base, "fork": fork, "back": back}[part](sys.argv[2], record)
        record.line("done", part)


main()
