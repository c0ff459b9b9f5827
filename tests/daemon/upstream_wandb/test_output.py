"""The console and the machine's samples of runs at a W&B server."""

from __future__ import annotations

import pytest
import pytest_asyncio
from daemon.upstream_wandb.desks import Desk, add_line, add_sample, opened

from harness.wandb_stub import CONSOLE, EVENTS, HISTORY, WandbStub
from kelt_proto.v1 import record_pb2

pytestmark = pytest.mark.asyncio
AT = 1_767_323_045.000006


@pytest_asyncio.fixture
async def desk(stub: WandbStub, tmp_path):
    async with Desk(stub, tmp_path) as desk:
        await desk.connect()
        yield desk


async def test_console_lines_are_written_as_wandbs_client_writes_them(desk, stub):
    stream = opened(1, "r")
    add_line(stream, 0, "one", at=AT)
    add_line(stream, 1, "", at=AT)
    add_line(stream, 2, "to the other", at=AT, is_error=True)
    add_line(stream, 3, "at no time")
    await desk.ship(desk.add(stream, "r"))
    assert stub.run("r").console == [
        "2026-01-02T03:04:05.000006 one", "2026-01-02T03:04:05.000006 ",
        "ERROR 2026-01-02T03:04:05.000006 to the other", "at no time",
    ]  # fmt: skip


async def test_a_line_that_comes_again_takes_the_place_of_the_one_before(desk, stub):
    stream = opened(1, "r")
    for number in range(5):
        add_line(stream, number, f"line {number}")
    desk.add(stream, "r")
    await desk.ship(stream)
    for text in ("10 %", "20 %"):
        add_line(stream, 3, text)
    add_line(stream, 0, "first")
    add_line(stream, 5, "last")
    await desk.ship(stream)
    assert stub.run("r").console == ["first", "line 1", "line 2", "20 %", "line 4", "last"]
    sent = [post.body["files"][CONSOLE] for post in stub.of_kind("file_stream")]
    assert [(part["offset"], len(part["content"])) for part in sent] == [
        (0, 5), (0, 1), (3, 1), (5, 1),
    ]  # fmt: skip


async def test_what_is_logged_together_goes_in_one_post(desk, stub):
    stream = opened(1, "r")
    stream.row(0, {"x": 1})
    add_line(stream, 0, "one")
    add_sample(stream, 2.5, **{"system.cpu": 12.5, "system.gpu.0.temp": float("nan")})
    await desk.ship(desk.add(stream, "r"))
    (post,) = stub.of_kind("file_stream")
    assert {HISTORY, EVENTS, CONSOLE} < set(post.body["files"])
    assert post.body["files"][EVENTS]["content"] == [
        '{"system.cpu":12.5,"system.gpu.0.temp":NaN,"_timestamp":2.5,"_runtime":1.5,"_wandb":true}'
    ]


async def test_a_run_that_goes_on_has_its_output_behind_what_is_there_and_one_that_goes_back_anew(
    desk, stub
):
    for number, origin in enumerate((
        {"created": record_pb2.Created()},
        {"resumed": record_pb2.Resumed(last_step=0)},
        {"rewound": record_pb2.BranchPoint(project="p", run_id="r", step=0)},
    )):  # fmt: skip
        stream = opened(number + 1, "r", **origin)
        stream.row(number, {"x": number})
        add_line(stream, 0, f"session {number}")
        add_sample(stream, 1.0, session=number)
        stream.exit(0, at=1.0)
        await desk.ship(desk.add(stream, "r"), ends=(1, 3))
        desk.change(stream, is_through=True)
        run = stub.run("r")
        expected = [0, 1][: number + 1] if number < 2 else [2]
        assert run.console == [f"session {session}" for session in expected]
        assert [sample["session"] for sample in run.events] == expected


async def test_a_console_that_is_too_long_for_a_post_goes_in_several(desk, stub):
    stream = opened(1, "r")
    for number in range(3):
        add_line(stream, number, str(number) * (4 * 1024 * 1024))
    await desk.ship(desk.add(stream, "r"))
    assert [line[0] for line in stub.run("r").console] == ["0", "1", "2"]
    assert len(stub.of_kind("file_stream")) == 2
