"""What a client says of a run when it makes or changes it (`UpsertBucket`). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kelt_proto.v1 import record_pb2
from kelt_proto.v1.rows import STEP_MAX
from kelt_server.branch_names import Name
from kelt_server.errors import BadRequestError

#: wandb's numbers of what a metric's summary may be, and kelt's words, in the order of several.
_SUMMARIES = {1: "min", 2: "max", 3: "mean", 4: "best", 5: "last", 6: "none", 8: "first"}
_GOALS = {1: "minimize", 2: "maximize"}
_HIDDEN = 2
_SIGNS_MAX = 8
_DIGITS_MAX = 6
_SECONDS_MAX = 1e11
#: From this version on every client names the run's id when it resumes it.
_NAMES_IDS_SINCE = (0, 18)


@dataclass(frozen=True, slots=True)
class Point:
    """Where a run leaves another, or itself."""

    run_id: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """One `UpsertBucket`. What is None was not said."""

    entity: str
    project: str
    run_id: str
    storage_id: str
    config: Mapping[str, Any] | None
    internal: Mapping[str, Any]
    texts: Mapping[str, str]
    tags: tuple[str, ...] | None
    host: str
    program: str

    @property
    def is_beginning(self) -> bool:
        """Whether a session begins; else it goes on with the one that there is.

        Clients name host and program when they begin, and only then.
        """
        return bool(self.storage_id or self.host or self.program)

    @property
    def signs(self) -> tuple[str, ...]:
        """What tells the process of this client from others of its name: what it runs in.

        Up to 0.28 clients say when they began; from 0.17 on they describe each process under an
        id of its own, some time after it began.
        """
        found = []
        started_at = _seconds(self.internal.get("start_time"))
        if started_at is not None:
            found.append(f"start {started_at}")
        described = self.internal.get("e")
        if isinstance(described, dict):
            found += [process_sign(key) for key in described]
        return tuple(found[:_SIGNS_MAX])

    @property
    def started_at(self) -> float | None:
        """When the run began, where the client says so."""
        return _seconds(self.internal.get("start_time"))

    @property
    def is_of_a_file(self) -> bool:
        """Whether it is `wandb sync` that speaks, of a run that was logged before."""
        return self.program.startswith("-m wandb") or self.program.endswith("/wandb")

    @property
    def asks_before_it_resumes(self) -> bool:
        """Whether the client is one that says of a resumed run only by asking for it before."""
        version = str(self.internal.get("cli_version", "")).split(".")[:2]
        numbers = [int(part) for part in version if part.isdecimal() and len(part) < _DIGITS_MAX]
        return len(numbers) != len(_NAMES_IDS_SINCE) or tuple(numbers) < _NAMES_IDS_SINCE

    @property
    def point(self) -> Point | None:
        """The point at which the run leaves another, or itself."""
        said = self.internal.get("branch_point")
        if not isinstance(said, dict) or not isinstance(said.get("run_id"), str):
            return None
        step = said.get("step")
        if isinstance(step, bool) or not isinstance(step, int | float) or step != step:  # noqa: PLR0124 # NaN
            return None
        return Point(said["run_id"], int(min(max(step, -1), STEP_MAX)))


def process_sign(process: str) -> str:
    """What tells a session by the id that its client gave its process."""
    return f"process {process}"


def unsaid(name: Name) -> Upsert:
    """What a client says that says nothing but its run's name."""
    return Upsert(
        entity=name[0], project=name[1], run_id=name[2], storage_id="", config=None,
        internal={}, texts={}, tags=None, host="", program="",
    )  # fmt: skip


def rewinding(name: Name, step: int) -> Upsert:
    """What a client says that rewinds a run."""
    point = {"run_id": name[2], "step": step}
    return replace(unsaid(name), internal={"branch_point": point})


def rewind_step(said: Mapping[str, Any]) -> int:
    """The step that a client wants to go back to (`RewindRun`).

    Raises:
        BadRequestError: it is none.
    """
    if said.get("metricName", "_step") != "_step":
        raise BadRequestError("a run can be rewound to a _step only")
    step = said.get("metricValue")
    if isinstance(step, bool) or not isinstance(step, int | float) or not abs(step) <= STEP_MAX:
        raise BadRequestError("a run is rewound to a step, which is a number")
    return int(step)


def read_upsert(said: Mapping[str, Any]) -> Upsert:
    """The input of the mutation."""
    config, internal = read_config(said.get("config"))
    texts = {
        ours: str(said[theirs]) for ours, theirs in _TEXTS.items() if said.get(theirs) is not None
    }
    tags = said.get("tags")
    return Upsert(
        entity=_text(said.get("entityName")),
        project=_text(said.get("modelName")),
        run_id=_text(said.get("name")),
        storage_id=_text(said.get("id")),
        config=config,
        internal=internal,
        texts=texts,
        tags=tuple(map(str, tags)) if isinstance(tags, list) else None,
        host=_text(said.get("host")),
        program=_text(said.get("jobProgram")),
    )


_TEXTS = {"name": "displayName", "notes": "notes", "group": "groupName", "job_type": "jobType"}


def read_config(text: object) -> tuple[dict[str, Any] | None, Mapping[str, Any]]:
    """The user's values, and wandb's own; None where no config was sent or it cannot be read."""
    if not isinstance(text, str):
        return None, {}
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None, {}
    if not isinstance(said, dict):
        return None, {}
    values = {
        key: item["value"] if isinstance(item, dict) and "value" in item else item
        for key, item in said.items()
    }
    internal = values.pop("_wandb", None)
    values.pop("wandb_version", None)
    values.pop("", None)
    return values, internal if isinstance(internal, dict) else {}


def info_of(texts: Mapping[str, str], tags: Sequence[str] | None) -> record_pb2.RunInfo:
    """What people see of the run; unsaid fields are unset."""
    info = record_pb2.RunInfo()
    for field, text in texts.items():
        setattr(info, field, text)
    if tags is not None:
        info.tags.CopyFrom(record_pb2.Tags(values=tags))
    return info


def definitions(internal: Mapping[str, Any], step: int) -> Iterator[record_pb2.MetricDefinition]:
    """The metrics that the client defined, as of a step. Numbers count into their own list."""
    said = internal.get("m")
    metrics = [item for item in said if isinstance(item, dict)] if isinstance(said, list) else []
    for item in metrics:
        name = item.get("1") or item.get("2")
        if not isinstance(name, str) or not name:
            continue
        goal = item.get("8")
        yield record_pb2.MetricDefinition(
            name=name,
            step_metric=_step_metric(item, metrics),
            summary=_summary(item.get("7")),
            goal=_GOALS.get(goal, "") if isinstance(goal, int) else "",
            hidden=_HIDDEN in _numbers(item.get("6")),
            step=step,
        )


def _step_metric(item: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> str:
    number = item.get("5")
    if isinstance(number, int) and 0 < number <= len(metrics):
        return _text(metrics[number - 1].get("1"))
    return _text(item.get("4"))


def _summary(said: object) -> str:
    words = [word for number, word in _SUMMARIES.items() if number in _numbers(said)]
    return "none" if "none" in words else ",".join(words)


def _numbers(said: object) -> list[int]:
    return [item for item in said if isinstance(item, int)] if isinstance(said, list) else []


def _seconds(said: object) -> float | None:
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return float(said) if 0 < said < _SECONDS_MAX else None


def _text(said: object) -> str:
    return said if isinstance(said, str) else ""
