"""The events of one file into kelt's records, one for one (the package's description). Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import DecodeError

from kelt import records
from kelt.other_trackers.foreign_run import ForeignRun, Tally
from kelt.other_trackers.rows import RowPacker, is_fit
from kelt.other_trackers.tensorboard.histograms import histogram_of_buckets, histogram_of_tensor
from kelt.other_trackers.tensorboard.tensors import NoTensorError, tensor_value
from kelt.other_trackers.tensorboard.tfrecords import DamagedRecord
from kelt.wandb_files.log_blocks import Damage
from kelt.wandb_files.row_building import BuiltRow
from kelt.wandb_files.translation import Control
from kelt_proto.tensorboard.event_pb2 import Event, HparamsData, Summary
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import PAYLOAD_BYTES_MAX, Kind

#: Kinds of values and of plugins that kelt does not carry, as people call them.
_NOT_CARRIED = {
    "image": "image", "audio": "audio clip", "images": "image",
    "obsolete_old_style_histogram": "histogram of an old format",
    "graph_def": "graph", "meta_graph_def": "graph", "tagged_run_metadata": "profile",
    "pr_curves": "PR curve", "mesh": "mesh", "custom_scalars": "layout",
    "log_message": "log message",
}  # fmt: skip
_SCALARS, _TEXT, _HPARAMS, _HISTOGRAMS = "scalars", "text", "hparams", "histograms"
_DESCRIPTION = "description of a metric"
#: PyTorch's writers add it to the tag of a text.
_TEXT_SUFFIX = "/text_summary"
_FAILURE = 2
_EXACT_END = 2**53
_WAITING_MAX = 1000
_JOINED_BYTES_MAX = 1024 * 1024
#: Says nothing and keeps a number.
_NOTHING = Control(Kind.CONFIG, b"")


@dataclass(frozen=True, slots=True)
class _Values:
    """What one event logged."""

    step: int
    at: float
    values: dict[str, Any]
    size_bytes: int


class EventTranslator:
    """Translates the events of one file.

    Events of one step that follow each other become one row, in the place of the last of them, and
    the others say nothing. The last step of a file may not be whole: its events become a row each.
    Once the file has grown, they have numbers that are known, and the row joins them by its step.

    Args:
        run: whose rows they are.
        tally: to count in.
    """

    def __init__(self, run: ForeignRun, tally: Tally) -> None:
        self._run = run
        self._tally = tally
        self._rows = RowPacker(started_at=run.started_at)
        self._plugins: dict[str, str] = {}
        #: By tags that were logged at step 0: how often.
        self._at_zero: dict[str, int] = {}
        self._last_steps: dict[str, int] = {}
        self._seq = 1  # RunOpened
        #: From the first event of the step on.
        self._waiting: list[Control | _Values] = []
        self._joined: dict[str, Any] = {}
        self._step_joined = -1
        self._bytes_joined = 0

    def take(self, item: bytes | DamagedRecord | Damage) -> Iterator[Control | BuiltRow]:
        """What comes of the next piece of the file, or of those before it."""
        self._seq += 1
        if isinstance(item, bytes):
            try:
                made = self._event(Event.FromString(item))
            except DecodeError:
                made = self._loss("an event that is no message")
        else:
            made = self._loss(f"{item.size_bytes} bytes of TensorBoard's file are damaged")
        if isinstance(made, _Values):
            is_same = made.step == self._step_joined and self._joined.keys().isdisjoint(made.values)
            is_much = self._bytes_joined + made.size_bytes > _JOINED_BYTES_MAX
            if not is_same or is_much or len(self._waiting) >= _WAITING_MAX:
                yield from self._join()
            self._step_joined = made.step
            self._joined |= made.values
            self._bytes_joined += made.size_bytes
        elif not self._waiting:
            yield made
            return
        self._waiting.append(made)

    def finish(self) -> Iterator[Control | BuiltRow]:
        """What comes of the last events."""
        for item in self._waiting:
            yield self._row(item) if isinstance(item, _Values) else item
        self._waiting.clear()

    def _join(self) -> Iterator[Control | BuiltRow]:
        """The records of the events that wait: they are those of a whole step."""
        places = [place for place, item in enumerate(self._waiting) if isinstance(item, _Values)]
        for place, item in enumerate(self._waiting):
            if not isinstance(item, _Values):
                yield item
            elif place == places[-1]:
                yield self._row(replace(item, values=self._joined))
            else:
                yield _NOTHING
        self._waiting.clear()
        self._joined, self._bytes_joined = {}, 0

    def _row(self, logged: _Values) -> BuiltRow:
        self._tally.rows += 1
        return self._rows.pack(logged.step, logged.at, logged.values)

    def _event(self, event: Event) -> Control | _Values:
        self._tally.ended_at = max(self._tally.ended_at, event.wall_time)
        if event.WhichOneof("what") != "summary":
            self._count(event.WhichOneof("what") or "")
            return _NOTHING
        values: dict[str, Any] = {}
        config: dict[str, Any] = {}
        step = event.step
        for value in event.summary.value:
            plugin = self._plugin(value)
            if plugin == _HPARAMS:
                config |= self._hparams(value.metadata.plugin_data.content)
                continue
            found = self._value(value, plugin)
            if found is None:
                continue
            name = value.tag.removesuffix(_TEXT_SUFFIX) if plugin == _TEXT else value.tag
            step = self._step(name, event.step)
            if not is_fit(step, name):
                return self._loss(f"a value {name!r:.60} at step {step} cannot be one")
            values[name] = found
        if values:
            size_bytes = event.ByteSize()
            if size_bytes > PAYLOAD_BYTES_MAX // 2:
                return self._loss(f"an event of {size_bytes} bytes")
            return _Values(step, event.wall_time, values, size_bytes)
        if config:
            return Control(Kind.CONFIG, records.config(config, (), event.wall_time))
        return _NOTHING

    def _plugin(self, value: Summary.Value) -> str:
        """Whose value it is: only a tag's first one says so."""
        self._tally.not_carried[_DESCRIPTION] += bool(value.metadata.summary_description)
        name: str = value.metadata.plugin_data.plugin_name
        if name:
            self._plugins[value.tag] = name
        return name or self._plugins.get(value.tag, "")

    def _value(self, value: Summary.Value, plugin: str) -> Any:
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            return float(value.simple_value)
        try:
            if kind == "histo":
                return histogram_of_buckets(value.histo)
            if kind == "tensor" and plugin == _HISTOGRAMS:
                return histogram_of_tensor(value.tensor)
            if kind == "tensor" and plugin in {_SCALARS, _TEXT}:
                return tensor_value(value.tensor)
        except (NoTensorError, struct.error) as error:
            self._tally.not_carried[f"value that cannot be read ({error})"] += 1
            return None
        self._count(plugin if kind == "tensor" else kind or "")
        return None

    def _count(self, kind: str) -> None:
        if kind in _NOT_CARRIED:
            self._tally.not_carried[_NOT_CARRIED[kind]] += 1
        elif kind not in {"", "file_version", "session_log"}:
            self._tally.not_carried[f"value of the plugin {kind}"] += 1

    def _step(self, name: str, step: int) -> int:
        """The step of a value: counted where a tag is at 0 again, as the writer then knew none."""
        seen = self._at_zero.get(name, 0)
        if step == 0 and name not in self._last_steps:
            self._at_zero[name] = seen + 1
            return seen
        if step < seen or self._last_steps.get(name) == step:
            self._tally.not_carried["value that was logged again at its step"] += 1
        self._last_steps[name] = step
        return step

    def _hparams(self, content: bytes) -> Mapping[str, Any]:
        try:
            data = HparamsData.FromString(content)
        except DecodeError:
            self._tally.not_carried["set of hyper-parameters that cannot be read"] += 1
            return {}
        if data.session_end_info.status == _FAILURE:
            self._tally.is_failed = True
        found: dict[str, Any] = {}
        for key, value in sorted(data.session_start_info.hparams.items()):
            kind = value.WhichOneof("kind")
            number: Any = getattr(value, kind) if kind and kind != "null_value" else None
            # Numbers are all floats there.
            is_whole = type(number) is float and number.is_integer() and abs(number) < _EXACT_END
            found[key] = int(number) if is_whole else number
        return found

    def _loss(self, reason: str) -> Control:
        self._tally.lost_rows += 1
        self._tally.told_in_place += 1
        loss = record_pb2.Loss(
            writer_id=self._run.writer_id, first_seq=self._seq, last_seq=self._seq, rows=1,
            reason=reason.encode("ascii", "backslashreplace").decode(),
        )  # fmt: skip
        return Control(Kind.LOSS, loss.SerializeToString(deterministic=True))
