"""Flips and cuts in the real files of the stores: the server starts, names what it set aside, and
is filled again from what the daemons still hold."""

from __future__ import annotations

import os
import shutil
import sqlite3
from itertools import product
from pathlib import Path
from random import Random

import duckdb
import pytest
from server.stand import Stand
from server.streams import Stream, simple_run

from harness.amounts import amount
from kelt_server.config import ServerConfig
from kelt_server.errors import StartError, StoreError
from kelt_server.metrics import duckdb_reading, duckdb_store
from kelt_server.stores import open_stores

ROWS = 6000
FLIPS = int(os.environ.get("KELT_TORTURE_STORE_FLIPS", "6"))
#: How DuckDB divides a file, after its headers.
BLOCK, HEADERS = 2**18, 3 * 4096
FIRST_SEED = int(os.environ.get("KELT_TORTURE_FIRST_SEED", "0"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> tuple[Path, Stream]:
    folder = tmp_path_factory.mktemp("filled")
    stream = simple_run(row_count=ROWS)
    with Stand.opened(folder) as stand:
        stand.push([stream.batch(1, ROWS + 1)])
    return folder, stream


def fill_again(stand: Stand, stream: Stream) -> list[int]:
    """As a daemon does: asks where the server stands, and sends what follows."""
    (ack,) = stand.group.committed_through([stream.writer_id])
    if ack.committed_through < stream.last_seq:
        stand.push([stream.batch(ack.committed_through + 1, stream.last_seq)])
    return [row["step"] for row in stand.rows("run")]


CATALOG, METRICS = "catalog.sqlite", "metrics.duckdb"


@pytest.mark.covers(phase="recovery", fault="bit flip")
@pytest.mark.parametrize(
    ("name", "where"),
    amount(
        [(CATALOG, "header"), (METRICS, "middle"), (CATALOG, "tail"), (METRICS, "cut")],
        long=list(product((CATALOG, METRICS), ("header", "middle", "tail", "cut"))),
    ),
)
def test_a_damaged_store_is_set_aside_and_named_and_the_server_is_filled_again(
    tmp_path, filled, name, where, record_faults
):
    origin, stream = filled
    for number in range(FLIPS):
        rng = Random(f"{FIRST_SEED + number} {where}")
        folder = tmp_path / str(number)
        shutil.copytree(origin, folder)
        path = folder / name
        size = path.stat().st_size
        if where == "cut":
            os.truncate(path, rng.randrange(size))
        else:
            start, end = {
                "header": (0, 100), "middle": (size // 4, size * 3 // 4), "tail": (size - 4096, size),
            }[where]  # fmt: skip
            raw = bytearray(path.read_bytes())
            raw[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
            path.write_bytes(raw)
        with Stand.opened(folder) as stand:  # it starts
            assert fill_again(stand, stream) == list(range(ROWS)), f"seed {FIRST_SEED + number}"
            for damaged in stand.stores.damaged:
                assert damaged.path.startswith(name)
                assert (folder / damaged.moved_to).exists()
        record_faults(1)


def test_damage_that_lets_no_commit_through_is_noted_and_the_file_set_aside(
    tmp_path, filled, monkeypatch
):
    origin, stream = filled
    monkeypatch.setattr(duckdb_store, "_READ_THROUGH_BYTES_MAX", 0)  # as if it were too large
    stopped = 0
    for block in range((origin / "metrics.duckdb").stat().st_size // BLOCK):
        folder = tmp_path / str(block)
        shutil.copytree(origin, folder)
        with (folder / "metrics.duckdb").open("r+b") as file:
            file.seek(HEADERS + block * BLOCK + 100)
            file.write(b"flipped")
        with Stand.opened(folder) as stand:
            stand.stores.metrics._connection.execute("PRAGMA wal_autocheckpoint = '1KB'")
            try:
                fill_again(stand, longer(stream))
            except StoreError as error:
                assert "started again" in str(error)  # noqa: PT017 # some blocks do no harm
                stopped += 1
        with Stand.opened(folder) as stand:
            assert fill_again(stand, longer(stream)) == list(range(ROWS + 1))
    assert stopped


def longer(stream: Stream) -> Stream:
    """The same with one more row."""
    more = Stream(stream.writer_id, list(stream.schemas), list(stream.frames))
    more.row(ROWS, {"loss": 1.0})
    return more


def test_a_folder_may_be_called_like_damage():
    path = Path("/runs/checksum/corrupt/metrics.duckdb")
    full = duckdb.Error(f'IO Error: Could not write file "{path}.wal": No space left on device')
    assert not duckdb_reading._is_damage(full, path)
    assert duckdb_reading._is_damage(duckdb.Error("Corrupt database file"), path)


def test_damage_met_while_reading_is_noted_and_the_next_start_sets_the_file_aside(
    tmp_path, filled, monkeypatch
):
    origin, stream = filled
    folder = tmp_path / "large"
    shutil.copytree(origin, folder)
    monkeypatch.setattr(duckdb_store, "_READ_THROUGH_BYTES_MAX", 0)  # as if it were too large
    path = folder / "metrics.duckdb"
    raw = bytearray(path.read_bytes())
    for place in range(4096 * 8, len(raw), 4096):  # every block
        raw[place] ^= 0xFF
    path.write_bytes(raw)
    with Stand.opened(folder) as stand:
        first_id = stand.stores.catalog.server_id
        if not stand.stores.damaged:
            with pytest.raises(StoreError, match="started again"):
                stand.rows("run")
    with Stand.opened(folder) as stand:
        assert [damaged.path for damaged in stand.stores.damaged][:1] == ["metrics.duckdb"]
        assert stand.stores.catalog.server_id != first_id or stand.stores.damaged
        assert fill_again(stand, stream) == list(range(ROWS))
    assert not duckdb_reading.damage_note(path).exists()


@pytest.mark.parametrize(
    ("name", "connect", "statement"),
    [
        ("catalog.sqlite", sqlite3.connect, "UPDATE alembic_version SET version_num = '0999'"),
        ("metrics.duckdb", duckdb.connect, "UPDATE meta SET format = 999"),
    ],
)
def test_what_a_newer_kelt_wrote_is_no_damage_and_stops_the_start(
    tmp_path, name, connect, statement
):
    config = ServerConfig(folder=tmp_path)
    open_stores(config).close()
    connection = connect(str(tmp_path / name))
    connection.execute(statement)
    connection.commit()
    connection.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(
        StartError, match=rf"{name} was written by a newer kelt; start that version"
    ):
        open_stores(config)
    assert sorted(path.name for path in tmp_path.iterdir()) == files
