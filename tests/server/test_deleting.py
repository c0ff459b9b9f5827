"""What deleting a run leaves, takes and refuses; on the real stores."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from server.stand import NOW, Stand
from server.streams import Stream, simple_run, writer_id
from server.test_output import console, pieces, system, texts

from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import BranchPoint
from kelt_server.errors import NotFoundError, RunDeletedError, StoreError
from kelt_server.facts import BURIED_ENTITY
from kelt_server.ingest.output_records import system_branch

NAME = ("local", "proj", "run")
Open = Callable[[], AbstractContextManager[Stand]]


def fork(number: int, run_id: str, branch_id: str, point: BranchPoint, *, rows: int = 2) -> Stream:
    """A run that leaves another at a step, with the loss 10 * number at each of its own."""
    stream = Stream(writer_id(number))
    info = record_pb2.RunInfo(name=run_id)
    stream.opened("proj", run_id, branch_id, started_at=float(number), forked=point, info=info)
    for step in range(point.step + 1, point.step + 1 + rows):
        stream.row(step, {"loss": 10.0 * number})
    return stream


def losses(stand: Stand, run: str) -> list[Any]:
    return [row["values"]["loss"] for row in stand.rows(run)]


def ids(stand: Stand) -> list[str]:
    return sorted(run["run_id"] for run in stand.reader.runs("local", "proj"))


def remove(stand: Stand) -> None:
    """As it is done in the background."""
    deletions = stand.stores.catalog.deletions
    branch_ids = deletions.to_remove()
    stand.stores.metrics.remove_branches([*branch_ids, *map(system_branch, branch_ids)])
    deletions.removed(branch_ids)


def stored(stand: Stand) -> tuple[int, int]:
    """Rows and points, of whatever branch."""
    count = stand.stores.metrics._connection.execute
    ((rows,),) = count("SELECT count(*) FROM rows").fetchall()
    ((points,),) = count(
        "SELECT count(*) FROM (SELECT 1 FROM points UNION ALL SELECT 1 FROM packed)"
    ).fetchall()
    return rows, points


def test_a_deleted_run_is_gone_from_everywhere(stand: Stand) -> None:
    stand.push(simple_run().batches())
    stand.push(simple_run(2, run_id="other", branch_id="o").batches())
    stand.stores.metrics.pack()
    assert ids(stand) == ["other", "run"]
    stand.group.delete_run(NAME, by_user="ann")
    assert ids(stand) == ["other"]
    for ask in (lambda: stand.run("run"), lambda: stand.run("b"), lambda: stand.rows("run")):
        with pytest.raises(NotFoundError):
            ask()
    remove(stand)
    assert stored(stand) == (3, 3)
    assert losses(stand, "other") == [0.5, 1.5, 2.5]
    with stand.stores.catalog.engine.begin() as connection:
        for table in ("branches", "sessions", "routes"):
            found = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()
            assert found == 1


def test_a_project_without_runs_is_not_listed(stand: Stand) -> None:
    stand.push(simple_run().batches())
    point = BranchPoint(project="proj", run_id="run", branch_id="b", step=1)
    child = fork(2, "child", "c", point)
    stand.push(child.batches())
    stand.group.delete_run(NAME, by_user="")
    assert [(p["entity"], p["runs"]) for p in stand.reader.projects()] == [("local", 1)]
    stand.group.delete_run(("local", "proj", "child"), by_user="")
    assert stand.reader.projects() == []


@pytest.mark.parametrize("is_known_by_id", [True, False])
def test_forks_keep_what_they_inherit(stand: Stand, is_known_by_id: bool) -> None:
    stand.push(simple_run().batches())
    point = BranchPoint(project="proj", run_id="run", step=1)
    if is_known_by_id:
        point.branch_id = "b"
    stand.push(fork(2, "child", "c", point).batches())
    grandchild = BranchPoint(project="proj", run_id="child", branch_id="c", step=2)
    stand.push(fork(3, "grandchild", "g", grandchild, rows=1).batches())
    before = [stand.rows(run) for run in ("child", "grandchild")]
    assert losses(stand, "grandchild") == [0.5, 1.5, 20.0, 30.0]
    deletion = stand.group.delete_run(NAME, by_user="")
    assert deletion.kept == 1
    remove(stand)
    for run, rows in zip(("child", "grandchild"), before, strict=True):
        found = stand.rows(run)
        assert [(r["step"], r["values"]) for r in found] == [(r["step"], r["values"]) for r in rows]
        assert stand.run(run)["problems"] == []
    (parent,) = stand.run("child")["lineage"]
    assert (parent["run_id"], parent["entity"], parent["is_deleted"]) == ("run", "local", True)
    with pytest.raises(NotFoundError):
        stand.run(parent["immutable_id"])


def test_what_nobody_inherits_any_more_is_removed_with_the_last_heir(stand: Stand) -> None:
    stand.push(simple_run().batches())
    point = BranchPoint(project="proj", run_id="run", branch_id="b", step=1)
    stand.push(fork(2, "child", "c", point).batches())
    grandchild = BranchPoint(project="proj", run_id="child", branch_id="c", step=2)
    stand.push(fork(3, "grandchild", "g", grandchild, rows=1).batches())
    for run_id in ("child", "run"):
        stand.group.delete_run(("local", "proj", run_id), by_user="")
        remove(stand)
        assert losses(stand, "grandchild") == [0.5, 1.5, 20.0, 30.0]
    assert stored(stand)[0] == 6
    stand.group.delete_run(("local", "proj", "grandchild"), by_user="")
    remove(stand)
    assert stored(stand) == (0, 0)


def test_a_rewound_run_goes_with_its_archived_branches(stand: Stand) -> None:
    stream = simple_run()
    point = BranchPoint(project="proj", run_id="run", branch_id="b", step=0)
    stream.rewind("b2", at=50.0, point=point)
    stream.row(1, {"loss": 7.0})
    stand.push(stream.batches())
    assert losses(stand, "run") == [0.5, 7.0]
    assert len(stand.group.delete_run(NAME, by_user="").former_ids) == 2
    remove(stand)
    assert stored(stand) == (0, 0)


def test_its_writers_are_refused_and_stand_where_they_stood(stand: Stand) -> None:
    stream = simple_run()
    stand.push(stream.batches())
    stand.group.delete_run(NAME, by_user="")
    late = stream.row(3, {"loss": 1.0})
    with pytest.raises(RunDeletedError, match="local/proj/run was deleted"):
        stand.push([stream.batch(late, late)])
    with pytest.raises(RunDeletedError):
        stand.push(stream.batches())  # as a daemon that heard no answer
    (ack,) = stand.group.committed_through([stream.writer_id])
    assert ack.committed_through == late - 1
    assert ids(stand) == []


def test_the_id_can_be_used_again_at_once(stand: Stand) -> None:
    first = simple_run()
    first.config(2.0, lr=1)
    stand.push(first.batches())
    stand.group.delete_run(NAME, by_user="")
    stand.push(simple_run(2, branch_id="again", row_count=1).batches())
    run = stand.run("run")
    assert (run["rows"], run["config"], run["archived"]) == (1, {}, [])
    assert (run["immutable_id"], run["problems"], len(run["sessions"])) == ("again", [], 1)
    remove(stand)
    assert losses(stand, "run") == [0.5]


def shared(number: int, value: float) -> Stream:
    """A writer of a shared run, whose branch's id follows from its name."""
    stream = Stream(writer_id(number))
    stream.opened(
        "proj", "run", "derived", started_at=float(number), created=record_pb2.Created(),
        shared=record_pb2.Shared(label=f"rank_{number}", is_primary=True),
    )  # fmt: skip
    stream.row(0, {"loss": value})
    return stream


@pytest.mark.parametrize("has_heir", [True, False])
def test_a_shared_run_of_the_same_id_is_another(stand: Stand, has_heir: bool) -> None:
    stand.push(shared(1, 1.0).batches())
    if has_heir:
        point = BranchPoint(project="proj", run_id="run", branch_id="derived", step=0)
        stand.push(fork(3, "child", "c", point, rows=1).batches())
    stand.group.delete_run(NAME, by_user="")
    stand.push(shared(2, 2.0).batches())
    remove(stand)
    assert losses(stand, "run") == [2.0]
    assert stand.run("run")["labels"] == ["rank_2"]
    if has_heir:
        assert losses(stand, "child") == [1.0, 30.0]


def test_a_run_can_be_deleted_again_and_again(stand: Stand) -> None:
    for number in range(1, 4):
        stand.push(simple_run(number, branch_id=f"b{number}").batches())
        stand.group.delete_run(NAME, by_user="")
        assert stand.stores.catalog.deletions.count(NAME) == number
        with pytest.raises(NotFoundError):
            stand.group.delete_run(NAME, by_user="")


def test_a_crash_between_the_stores_is_made_good_at_the_start(open_stand: Open) -> None:
    with open_stand() as stand:
        stand.push(shared(1, 1.0).batches())
        point = BranchPoint(project="proj", run_id="run", branch_id="derived", step=0)
        stand.push(fork(3, "child", "c", point, rows=1).batches())
        stand.stores.catalog.deletions.delete(NAME, at=1.0, by_user="")
    with open_stand() as stand:  # the metrics store knows nothing of it
        stand.push(shared(2, 2.0).batches())
        assert losses(stand, "run") == [2.0]
        assert losses(stand, "child") == [1.0, 30.0]
        assert stand.stores.catalog.deletions.unsettled() == {}
    with open_stand() as stand:
        assert stand.stores.catalog.deletions.count(NAME) == 1
        with pytest.raises(RunDeletedError):
            stand.push(shared(1, 1.0).batches())


def test_nothing_is_committed_before_the_metrics_store_has_followed(stand: Stand) -> None:
    class Full:
        def __init__(self, metrics: Any) -> None:
            self.inner, self.is_full = metrics, True

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def rename_branches(self, renamed: Any) -> None:
            if self.is_full:
                raise StoreError("no room")
            self.inner.rename_branches(renamed)

    metrics = Full(stand.stores.metrics)
    full = Stand.on(stand.stores, metrics)
    full.push(shared(1, 1.0).batches())
    full.group.delete_run(NAME, by_user="")
    with pytest.raises(StoreError):
        full.push(shared(2, 2.0).batches())
    metrics.is_full = False
    full.push(shared(2, 2.0).batches())
    assert losses(full, "run") == [2.0]


def test_a_host_that_goes_on_with_a_deleted_branch_makes_a_run_of_its_rows_alone(
    stand: Stand,
) -> None:
    stand.push(simple_run().batches())
    stand.group.delete_run(NAME, by_user="")
    later = Stream(writer_id(2))
    later.opened("proj", "run", "b", started_at=9.0, resumed=record_pb2.Resumed(last_step=2))
    later.row(3, {"loss": 4.0})
    stand.push(later.batches())
    assert losses(stand, "run") == [4.0]
    (problem,) = stand.run("run")["problems"]
    assert "the beginning of run (b) was deleted on 1970-01-01" in problem


def test_a_fork_that_comes_after_its_parent_was_deleted_has_its_own_rows_and_says_so(
    open_stand: Open,
) -> None:
    by_id = BranchPoint(project="proj", run_id="run", branch_id="b", step=1)
    by_name = BranchPoint(project="proj", run_id="run", step=1)
    with open_stand() as stand:
        stand.push(simple_run().batches())
        stand.group.delete_run(NAME, by_user="")
        remove(stand)
        stand.push(fork(2, "child", "c", by_id).batches())
        of_child = BranchPoint(project="proj", run_id="child", branch_id="c", step=2)
        stand.push(fork(3, "grandchild", "g", of_child, rows=1).batches())
        stand.push(fork(4, "named", "n", by_name).batches())
        # Another run of the name, which none of them left, nor once it is deleted too.
        stand.push(simple_run(int(NOW) + 9, branch_id="b5").batches())
    for _ in range(2):
        with open_stand() as stand:
            assert losses(stand, "grandchild") == [20.0, 30.0]
            for run_id, own in (("child", [20.0, 20.0]), ("named", [40.0, 40.0])):
                assert losses(stand, run_id) == own
                (problem,) = stand.run(run_id)["problems"]
                assert "was deleted on 1970-01-01 at" in problem
                assert "rows up to step 1 that it inherits went with it" in problem
            (parent,) = stand.run("child")["lineage"]
            assert (parent["known"], parent["is_deleted"]) == (False, True)
            if "run" in ids(stand):
                assert losses(stand, "run") == [0.5, 1.5, 2.5]
                stand.group.delete_run(NAME, by_user="")


def test_a_fork_of_a_name_that_was_deleted_before_may_still_be_of_one_that_comes(
    stand: Stand,
) -> None:
    stand.push(simple_run().batches())
    stand.group.delete_run(NAME, by_user="")
    point = BranchPoint(project="proj", run_id="run", step=1)
    stand.push(fork(int(NOW) + 9, "child", "c", point).batches())
    (problem,) = stand.run("child")["problems"]
    assert "has not arrived yet; one of its name was deleted on" in problem
    stand.push(simple_run(int(NOW) + 8, branch_id="b5").batches())
    assert (losses(stand, "child")[:2], stand.run("child")["problems"]) == ([0.5, 1.5], [])


def test_no_name_leads_to_what_is_kept_for_heirs(stand: Stand) -> None:
    stand.push(simple_run().batches())
    point = BranchPoint(project="proj", run_id="run", branch_id="b", step=1)
    stand.push(fork(2, "child", "c", point).batches())
    stand.group.delete_run(NAME, by_user="")
    assert stand.stores.catalog.names(BURIED_ENTITY, "proj") == [(BURIED_ENTITY, "proj", "run")]
    assert stand.reader.runs(BURIED_ENTITY, "proj") == stand.reader.runs("local", "proj")


def with_output(number: int, text: str, *, branch_id: str = "b") -> Stream:
    """A run with a row, a line of its console, a system sample and a file, which is the text."""
    stream = simple_run(number, branch_id=branch_id, row_count=1)
    console(stream, (0, text))
    system(stream, (float(number), {"cpu": number}))
    for piece in pieces(text.encode(), f"{text}.txt", of=stream.writer_id):
        stream.record(Kind.FILE_PIECE, piece)
    return stream


@pytest.mark.parametrize("is_shared", [False, True])
def test_what_it_put_out_beside_its_rows_goes_with_it(stand: Stand, is_shared: bool) -> None:
    """Whether the next run of its name has another immutable id, or the same, as a shared one."""
    stand.push(with_output(1, "old").batches())
    assert (texts(stand), [file.name for file in stand.reader.files.all(NAME)]) == (
        ["old"],
        ["old.txt"],
    )
    (old,) = stand.reader.files.all(NAME)
    assert all(stand.stores.objects.path(of).is_file() for of in old.objects)
    stand.group.delete_run(NAME, by_user="")
    assert not any(stand.stores.objects.path(of).exists() for of in old.objects)
    stand.push(with_output(2, "new", branch_id="b" if is_shared else "b2").batches())
    remove(stand)
    assert texts(stand) == ["new"]
    assert [file.name for file in stand.reader.files.all(NAME)] == ["new.txt"]
    assert stand.reader.rows.samples(*NAME) == (1, 2000)
    assert stored(stand) == (2, 2)  # a row and a sample


def test_a_piece_that_another_run_has_too_stays(stand: Stand) -> None:
    stand.push(with_output(1, "same").batches())
    other = simple_run(2, run_id="other", branch_id="o")
    for piece in pieces(b"same", "copy.txt", of=other.writer_id):
        other.record(Kind.FILE_PIECE, piece)
    stand.push(other.batches())
    stand.group.delete_run(NAME, by_user="")
    _, content = stand.reader.files.content(("local", "proj", "other"), "copy.txt")
    assert b"".join(content) == b"same"


def test_a_fork_has_its_own_output_still(stand: Stand) -> None:
    stand.push(with_output(1, "old").batches())
    point = BranchPoint(project="proj", run_id="run", branch_id="b", step=0)
    child = fork(2, "child", "c", point)
    console(child, (0, "child's"))
    stand.push(child.batches())
    stand.group.delete_run(NAME, by_user="")
    remove(stand)
    assert texts(stand, "child") == ["child's"]
    assert losses(stand, "child") == [0.5, 20.0, 20.0]
