"""A forked child of a run where something fails it."""

from __future__ import annotations

import threading

import pytest

from kelt.errors import StorageError
from kelt.journal.spool import InternedSchema, SpoolWriter
from kelt.late_sink import LateSink
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import Loss
from kelt_proto.v1.rows import ColumnKind, Schema

SCHEMA = Schema(1, ("a",), (ColumnKind.FLOAT,))


class Opening:
    """Opens a spool, or fails, and counts both."""

    def __init__(self, folder) -> None:
        self.folder, self.fails, self.tries, self.told = folder, True, 0, []
        self.spool = None

    def __call__(self):
        self.tries += 1
        if self.fails:
            raise StorageError("no room")
        self.spool = SpoolWriter(folder=self.folder, writer_id=bytes(16), quota_bytes=2**20)
        return self.spool


@pytest.fixture
def opening(tmp_path):
    made = Opening(tmp_path)
    yield made
    if made.spool is not None:
        made.spool.close()


def row(sink) -> bool:
    return sink.append_row(InternedSchema(SCHEMA), 0, 1, 0.0, 0.0, (1.0,))


def test_rows_before_a_session_can_be_opened_are_counted_and_then_told(opening) -> None:
    sink = LateSink(open_sink=opening, on_failure=opening.told.append)
    assert [row(sink) for _ in range(5)] == [False] * 5
    assert not sink.append_control(Kind.CONFIG, b"c")
    assert (opening.tries, len(opening.told), sink.dropped_rows) == (1, 1, 5)
    opening.fails = False
    sink._next_try_s = 0.0
    assert row(sink)
    assert (opening.tries, opening.spool.seq, opening.spool.dropped_rows) == (2, 1, 5)


def test_threads_open_one_session(opening) -> None:
    opening.fails = False
    sink = LateSink(open_sink=opening, on_failure=opening.told.append)
    threads = [threading.Thread(target=row, args=(sink,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (opening.tries, opening.spool.seq) == (1, 16)


def test_a_child_without_a_free_descriptor_neither_raises_nor_is_silent_and_goes_on_later(
    run_script, folders, contents
) -> None:
    code = """if True:
    import kelt, os, resource, time
    run = kelt.init("p")
    run.log({"parent": 0})
    pid = os.fork()
    if pid == 0:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
        for i in range(7):
            kelt.log({"child": i})
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        run._recording._sink._next_try_s = 0.0
        for i in range(7, 10):
            kelt.log({"child": i})
        raise SystemExit(0)
    assert os.waitpid(pid, 0)[1] == 0
    run.log({"parent": 1})
    run.finish()
    print("done")
    """
    done = run_script(code, KELT_SILENT="0")
    assert done.stdout == "done\n", done.stderr
    assert done.stderr.count("cannot be recorded now") == 1
    assert "Too many open files" in done.stderr
    parent, child = folders()
    assert contents(parent).column("parent") == [0, 1]
    found = contents(child)
    assert found.column("child") == [7, 8, 9]
    assert [c.rows for c in found.controls if isinstance(c, Loss)] == [7]
