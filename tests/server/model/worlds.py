"""Random worlds: told to the naive model and, as frames, to the server."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from server.model.naive import Branch, Part, Session, Setting, World
from server.streams import Stream, writer_id

from kelt_proto.v1 import record_pb2, rows

NAMES = ("alpha", "beta")
KEYS = ("a", "b", "c")
PROJECT = "proj"

VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=32),
    st.integers(-5, 5),
    st.sampled_from([2**53 + 1, -(2**60) - 1, True, False, None, "text", "", [1.5, "x"]]),
)
NUMBERS = st.one_of(st.floats(-100, 100, width=32), st.integers(-100, 100), st.just(float("nan")))


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def tick(self) -> float:
        self.now += 1.0
        return self.now


@st.composite
def worlds(draw: Any) -> tuple[World, list[Stream]]:
    """A few sessions that create, fork, rewind, resume and continue a few runs."""
    world, clock, streams = World(), _Clock(), []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        stream = Stream(writer_id(number))
        _open(draw, world, stream, number, clock)
        for _ in range(draw(st.integers(0, 8))):
            _act(draw, world, stream, number, clock)
        streams.append(stream)
    return world, streams


def _open(draw: Any, world: World, stream: Stream, number: int, clock: _Clock) -> None:
    at, branch_id, name = clock.tick(), f"branch-{number}", draw(st.sampled_from(("alpha", *NAMES)))
    known = sorted(world.branches)
    origin = draw(
        st.sampled_from(
            ["created", "forked", "rewound", "resumed", "continued"]
            if known
            else ["created", "continued"]
        )
    )
    branch = Branch(branch_id, name, (at, branch_id), origin, number)
    step = draw(st.integers(0, 8))
    if origin == "forked":
        branch.step = step
        parent = world.branches[draw(st.sampled_from(known))]
        if draw(st.booleans()):
            branch.parent = parent.branch_id
        else:
            branch.parent_name = parent.name
        point = record_pb2.BranchPoint(
            project=PROJECT, run_id=parent.name, branch_id=branch.parent or "", step=step
        )
        more: dict[str, Any] = {"forked": point}
    elif origin == "rewound":
        parent = world.branches[draw(st.sampled_from(known))]
        branch.name, branch.step, branch.parent = parent.name, step, parent.branch_id
        point = record_pb2.BranchPoint(
            project=PROJECT, run_id=parent.name, branch_id=parent.branch_id, step=step
        )
        more = {"rewound": point}
    elif origin == "resumed":
        branch_id = draw(st.sampled_from(known))
        name = world.branches[branch_id].name
        more = {"resumed": record_pb2.Resumed(last_step=3, mode="allow")}
    elif origin == "continued":
        branch.parent_name = name
        more = {"resumed": record_pb2.Resumed(point_unknown=True, mode="allow")}
    else:
        more = {"created": record_pb2.Created()}
    if origin != "resumed":
        world.branches[branch_id] = branch
        name = branch.name
    world.sessions[number] = Session(number, at, branch_id, origin == "continued")
    stream.opened(PROJECT, name, branch_id, started_at=at, **more)
    _CURRENT[number] = branch_id


_CURRENT: dict[int, str] = {}


def _act(draw: Any, world: World, stream: Stream, number: int, clock: _Clock) -> None:
    branch_id = _CURRENT[number]
    session = world.sessions[number]
    action = draw(
        st.sampled_from(["row", "row", "row", "row", "config", "summary", "define", "rewind"])
    )
    key, step, at = draw(st.sampled_from(KEYS)), draw(st.integers(0, 9)), clock.tick()
    if action == "row":
        chosen = draw(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
        relative = session.continued and draw(st.integers(0, 3)) > 0
        flags = rows.FLAG_RELATIVE_STEP if relative else 0
        seq = stream.row(step, chosen, flags=flags, inline=draw(st.integers(0, 9)) == 0)
        world.parts.append(Part(number, seq, branch_id, step, relative, chosen))
    elif action == "config":
        value = draw(st.integers(0, 9))
        seq = stream.config(at, **{key: value})
        world.configs.append(Setting(number, seq, branch_id, key, value, at=at))
    elif action == "summary":
        value = draw(st.integers(0, 9))
        seq = stream.summary(step, {key: value})
        world.by_hand.append(Setting(number, seq, branch_id, key, value, step=step))
    elif action == "define":
        kind = draw(st.sampled_from(["min", "max", "first", "last", "none"]))
        seq = stream.define(key, kind, step=step)
        world.how.append(Setting(number, seq, branch_id, key, kind, step=step))
    else:
        new_id = f"rewind-{number}-{stream.last_seq + 1}"
        name = world.branches[session.branch_id].name
        point = record_pb2.BranchPoint(project=PROJECT, run_id=name, branch_id=branch_id, step=step)
        stream.rewind(new_id, at=at, point=point)
        world.branches[new_id] = Branch(
            new_id, name, (at, new_id), "rewound", number, parent=branch_id, step=step
        )
        _CURRENT[number] = new_id


@st.composite
def arrivals(draw: Any, streams: list[Stream]) -> list[record_pb2.Batch]:
    """Batches of all writers, each writer's in order, cut and mixed at will, some sent twice."""
    waiting: list[list[record_pb2.Batch]] = []
    for stream in streams:
        batches, first = [], 1
        while first <= stream.last_seq:
            last = min(first + draw(st.integers(0, 4)), stream.last_seq)
            batches.append(stream.batch(first, last))
            if draw(st.integers(0, 4)) == 0:
                batches.append(stream.batch(max(1, first - 1), last))
            first = last + 1
        waiting.append(batches)
    mixed = []
    while any(waiting):
        queue = draw(st.sampled_from([queue for queue in waiting if queue]))
        mixed.append(queue.pop(0))
    return mixed
