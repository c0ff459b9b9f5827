"""W&B's records into kelt's, one for one (the package's description says why). Pure."""

from __future__ import annotations

import contextlib
import struct
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from kelt import records
from kelt.terminal_output import ConsoleOutput
from kelt.wandb_files import output_records, run_facts
from kelt.wandb_files.artifacts import ArtifactRecords
from kelt.wandb_files.log_blocks import Damage
from kelt.wandb_files.numbering import Numbering
from kelt.wandb_files.row_building import BuiltRow, RowBuilder
from kelt.wandb_files.run_facts import ConfigState, WandbRun, wandb_run
from kelt.wandb_files.summary_changes import SummaryChanges, is_of_a_row
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import PAYLOAD_BYTES_MAX, Kind
from kelt_proto.wandb.wandb_record_pb2 import Config, Environment, Exit, Metric, Record, Stats

#: Kinds that kelt does not carry, as people call them. What is not named is W&B's own business.
_NOT_CARRIED = {
    "output_logger": "console line",
    "use_artifact": "used artifact",
    "link_artifact": "linked artifact",
    "alert": "alert",
    "tbrecord": "TensorBoard log",
}
_UNREADABLE = "a record of the W&B file that is no message"


@dataclass(frozen=True, slots=True)
class Control:
    """A control record to write."""

    kind: Kind
    payload: bytes


#: Says nothing and keeps a number.
_NOTHING = Control(Kind.CONFIG, b"")


class Translator:
    """Translates one file from its beginning.

    Attributes:
        run: known from the first `run` record on.
        not_carried: what was left out, by what people call it, but for files in rows.
        artifacts: which lie beside the records.
        rows: translated.
        lost_rows: about how many rows damage has taken.
        exit_code: said at the end; None while nothing was.
    """

    def __init__(self) -> None:
        self.run: WandbRun | None = None
        self.not_carried: Counter[str] = Counter()
        self.artifacts = ArtifactRecords()
        self.rows = 0
        self.lost_rows = 0
        self.exit_code: int | None = None
        self._producer = ""
        self._numbering = Numbering()
        self._rows = RowBuilder(may_be_relative=False)
        self._config = ConfigState()
        self._summary = SummaryChanges()
        self._console = ConsoleOutput()
        self._records = 0
        self._at = 0.0
        #: Records that wait for the place of one that says nothing.
        self._waiting: deque[Control] = deque()
        #: The first records, until it is known of which process they are.
        self._opening: tuple[WandbRun, Config] | None = None

    @property
    def media(self) -> int:
        """How many values of rows describe a file."""
        return self._rows.media

    @property
    def last_seq(self) -> int:
        """The number of the last record."""
        return self._numbering.last_seq

    @property
    def ended_at(self) -> float:
        """When something was logged last, Unix seconds."""
        return self._at

    def take(self, item: bytes | Damage | None) -> Iterable[Control | BuiltRow]:
        """What comes of the next piece of the file; None is its end."""
        if item is None:
            return self._opened(None)
        if isinstance(item, Damage):
            self._numbering.damage(item.size_bytes)
            return ()
        try:
            record = Record.FromString(item)
        except DecodeError:
            record = None
        if self.run is None:
            self._begin(item, record)
            return ()
        if self._opening is not None:
            return (*self._opened(record), *self._taken(item, record))
        return self._taken(item, record)

    def _taken(self, item: bytes, record: Record | None) -> Iterable[Control | BuiltRow]:
        # A record that cannot be read counts itself, as far as the order tells.
        missing = self._numbering.place(self._numbering.next_num if record is None else record.num)
        lost = tuple(self._lost(missing)) if missing else ()
        self._records += 1
        if record is None:
            return (*lost, self._loss(rows=1, reason=_UNREADABLE))
        try:
            made = self._translated(record, item)
        except DecodeError:
            made = self._loss(rows=1, reason=_UNREADABLE)
        except (ValueError, OverflowError, RecursionError, struct.error) as error:
            rows = int(record.HasField("history"))
            reason = f"{'a row' if rows else 'a record'} that kelt cannot hold: {error}"
            made = self._loss(rows=rows, reason=reason)
        return (*lost, made) if lost else (made,)

    def _begin(self, raw: bytes, record: Record | None) -> None:
        kind = None if record is None else record.WhichOneof("kind")
        if record is None or kind != "run":
            if record is not None and kind == "header":
                self._producer = record.header.version_info.producer.split("+")[0]
            return
        said = record.run
        run = wandb_run(said, raw=raw, producer=self._producer)
        self.run, self._at = run, run.started_at
        self._numbering.start(record.num)
        self._rows = RowBuilder(may_be_relative=run.may_go_on)
        self._opening = run, said.config

    def _opened(self, following: Record | None) -> tuple[Control, ...]:
        """The first two records; the one that follows W&B's own names the process."""
        if self._opening is None:
            return ()
        (run, config), self._opening = self._opening, None
        process = ""
        if following is not None and following.WhichOneof("kind") == "environment":
            with contextlib.suppress(DecodeError):
                process = Environment.FromString(following.environment).writer_id
        opened = Control(Kind.RUN_OPENED, run_facts.opened(run, process=process))
        return opened, self._config_change(config) or _NOTHING

    def _translated(self, record: Record, raw: bytes) -> Control | BuiltRow:
        if history := record.history:
            return self._row(history)
        if summary := record.summary:
            if not is_of_a_row(raw):
                self._summary.take(summary)
            return self._next_waiting()
        kind = record.WhichOneof("kind")
        if kind == "history":  # without anything in it
            return self._row(b"")
        if kind == "summary":
            self._summary.take(b"")
        elif kind == "artifact":
            self.artifacts.take(record.artifact, record.num)
        elif kind in _NOT_CARRIED:
            self.not_carried[_NOT_CARRIED[kind]] += 1
        found = self._control(record, kind)
        if found is not None and len(found.payload) > PAYLOAD_BYTES_MAX:
            return self._loss(rows=0, reason="a record that is larger than kelt's may be")
        return found or self._next_waiting()

    def _control(self, record: Record, kind: str | None) -> Control | None:
        """What a record comes to that is neither a row nor of the summary; None for nothing."""
        if kind == "config":
            return self._config_change(record.config)
        if kind == "metric":
            return self._definition(record.metric)
        if kind == "exit":
            return self._exit(record.exit)
        if kind in {"output", "output_raw", "stats"}:
            return self._system(record.stats) if kind == "stats" else self._output(record)
        if kind != "run":
            return None
        if (change := self._config_change(record.run.config)) is not None:
            self._waiting.append(change)
        payload = run_facts.info(record.run).SerializeToString(deterministic=True)
        return Control(Kind.RUN_INFO, payload)

    def _row(self, history: bytes) -> BuiltRow:
        row = self._rows.build(history, timestamp=self._at)
        self._at = max(self._at, row.timestamp)
        self.rows += 1
        self._summary.row(row.names, row.values)
        return row

    def _next_waiting(self) -> Control:
        if (changes := self._summary.changes()) is not None:
            values, removed = changes
            payload = records.summary(values, removed, self._rows.highest_step)
            self._waiting.append(Control(Kind.SUMMARY, payload))
        return self._waiting.popleft() if self._waiting else _NOTHING

    def _config_change(self, config: Config) -> Control | None:
        changes = self._config.take(config)
        if changes is None:
            return None
        return Control(Kind.CONFIG, records.config(*changes, self._at))

    def _definition(self, metric: Metric) -> Control | None:
        payload = run_facts.definition(metric, step=self._rows.highest_step)
        return None if payload is None else Control(Kind.METRIC_DEFINITION, payload)

    def _output(self, record: Record) -> Control | None:
        output = record.output if record.HasField("output") else record.output_raw
        is_error = output_records.is_error(output)
        changed = self._console.write(output.line, is_error=is_error)
        return Control(Kind.CONSOLE, output_records.console(changed, output)) if changed else None

    def _system(self, stats: Stats) -> Control | None:
        started_at = 0.0 if self.run is None else self.run.started_at
        payload = output_records.system(stats, started_at=started_at)
        return None if payload is None else Control(Kind.SYSTEM, payload)

    def _exit(self, said: Exit) -> Control:
        self.exit_code = said.exit_code
        payload = records.exited(exit_code=said.exit_code, reason="", signal=0, at=self._at)
        return Control(Kind.EXIT, payload)

    def _lost(self, missing: int) -> Iterator[Control]:
        """The places of records that damage has taken: rows among them as often as elsewhere."""
        rows = min(missing, max(1, round(missing * self.rows / max(1, self._records))))
        reason = f"{missing} records of the W&B file were damaged, about {rows} of them rows"
        for _ in range(missing - 1):
            yield _NOTHING
        before = self._numbering.last_seq - 1
        yield self._loss(rows=rows, reason=reason, first_seq=before - missing + 1, last_seq=before)

    def _loss(
        self, *, rows: int, reason: str, first_seq: int | None = None, last_seq: int | None = None
    ) -> Control:
        """What stands in the place of a record, unless it is said to be for others."""
        if self.run is None:
            raise AssertionError
        self.lost_rows += rows
        loss = record_pb2.Loss(
            writer_id=self.run.writer_id,
            first_seq=self._numbering.last_seq if first_seq is None else first_seq,
            last_seq=self._numbering.last_seq if last_seq is None else last_seq,
            rows=rows,
            reason=reason.encode("ascii", "backslashreplace").decode(),  # may quote any text
        )
        return Control(Kind.LOSS, loss.SerializeToString(deterministic=True))
