"""Where a run's spool lies: in the run folder, or apart from it on this machine's disk."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

import kelt
import kelt.session
import kelt.state_dir
from kelt.errors import StorageError
from kelt.run_folder import LOCK_NAME, read_manifest, take_lock, write_manifest
from kelt.spool_place import (
    RUN_FOLDER_NAME,
    make_spool_folder,
    remove_spool_folder,
    spool_place,
    spool_place_of,
)
from kelt.state_dir import StateDir

WRITER = b"w" * 16


def table(*remote: Path) -> str:
    lines = [f"{n} 0 0:{n} / {path} rw - nfs nas:/ rw" for n, path in enumerate(remote, 2)]
    return "\n".join(["1 0 0:1 / / rw - ext4 x rw", *lines])


@pytest.fixture
def run_folder(tmp_path) -> Path:
    folder = tmp_path / "remote" / "run"
    folder.mkdir(parents=True)
    return folder


def make(folder, base, *, remote=(), **options):
    return make_spool_folder(
        folder, WRITER, **{"spool_dir": None, "bases": (base,)} | options,
        mounts=lambda: table(*remote),
    )  # fmt: skip


def test_on_a_disk_of_this_machine_it_lies_in_the_run_folder(run_folder, tmp_path) -> None:
    assert make(run_folder, tmp_path / "base") == run_folder
    assert not (tmp_path / "base").exists()


def test_on_a_network_filesystem_it_lies_apart_and_is_its_users_alone(run_folder, tmp_path) -> None:
    base = tmp_path / "base"
    base.mkdir(mode=0o777)
    place = make(run_folder, base, remote=(run_folder.parent,))
    assert place == base / f"kelt-{os.getuid()}" / WRITER.hex()
    for folder in (place, place.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (place / RUN_FOLDER_NAME).read_bytes() == os.fsencode(run_folder) + b"\n"


def test_a_folder_named_by_hand_is_used_whatever_the_run_folder_lies_on(
    run_folder, tmp_path
) -> None:
    place = make(run_folder, tmp_path / "unused", spool_dir=tmp_path / "named")
    assert place.parent.parent == tmp_path / "named"


def test_what_cannot_be_used_is_passed_over_for_the_next(run_folder, tmp_path) -> None:
    file, remote, good = tmp_path / "file", tmp_path / "remote2", tmp_path / "good"
    file.touch()
    place = make(
        run_folder, good, bases=(file, remote, good), remote=(run_folder.parent, remote)
    )  # fmt: skip
    assert place.parent.parent == good
    assert not remote.exists()


def test_without_any_place_it_is_said_what_to_do(run_folder, tmp_path) -> None:
    named = run_folder.parent / "spools"
    with pytest.raises(StorageError, match=r"network filesystem \(nfs\).*KELT_SPOOL_DIR"):
        make(run_folder, tmp_path, spool_dir=named, remote=(run_folder.parent,))
    assert not named.exists()


def test_a_link_in_the_place_of_the_users_folder_is_not_followed_by_who_reads(
    run_folder, tmp_path
) -> None:
    place = make(run_folder, tmp_path / "base", spool_dir=tmp_path / "base")
    manifest = replace(manifest_in(run_folder), spool_folder=str(place))
    assert spool_place(run_folder, manifest, is_here=True) == place
    assert spool_place(run_folder, manifest, is_here=False) == run_folder
    moved = place.rename(tmp_path / "moved")
    assert spool_place(run_folder, manifest, is_here=True) == run_folder
    place.symlink_to(moved)
    assert spool_place(run_folder, manifest, is_here=True) == run_folder
    place.unlink()
    moved.rename(place).chmod(0o750)
    assert spool_place(run_folder, manifest, is_here=True) == run_folder


@pytest.mark.parametrize("said", ["", ".", "relative", "/etc", "/", "\0", "/nowhere/" + "w" * 32])
def test_a_manifest_that_names_no_such_place_means_the_run_folder(run_folder, said) -> None:
    manifest = replace(manifest_in(run_folder), spool_folder=said)
    assert spool_place(run_folder, manifest, is_here=True) == run_folder


def manifest_in(folder: Path):
    from kelt.run_folder import RunManifest, boot_id, machine_id

    manifest = RunManifest(
        writer_id=WRITER.hex(), entity="", project="p", run_id="r", branch_id="b", mode="offline",
        upstream="http://x", started_at=1.0, hostname="h", machine_id=machine_id(),
        boot_id=boot_id(), pid=os.getpid(), pid_start_ticks=1,
    )  # fmt: skip
    write_manifest(folder, manifest)
    return read_manifest(folder)


def test_removal_leaves_what_is_not_kelts(run_folder, tmp_path) -> None:
    place = make(run_folder, tmp_path, spool_dir=tmp_path)
    (place / "spool-000001.kelt").touch()
    (place / "others").touch()
    take_lock(place)
    remove_spool_folder(place)
    assert [path.name for path in place.iterdir()] == ["others"]
    (place / "others").unlink()
    remove_spool_folder(place)
    assert not place.exists()


@pytest.fixture
def remote_runs(kelt_dir, tmp_path, monkeypatch) -> Path:
    """The state folder lies on a network filesystem; this machine's disk is `local`."""
    monkeypatch.setattr(
        kelt.session, "make_spool_folder",
        functools.partial(
            make_spool_folder, mounts=lambda: table(kelt_dir), bases=(tmp_path / "local",)
        ),
    )  # fmt: skip
    return tmp_path / "local"


def places(local: Path) -> list[Path]:
    return list(local.glob("kelt-*/*"))


def test_a_run_on_a_network_filesystem_maps_nothing_there_and_ends_with_a_whole_copy(
    remote_runs, start, folders, contents
) -> None:
    run = start()
    for i in range(5000):
        run.log({"i": i, "x": 0.5})
    (folder,) = folders()
    (place,) = places(remote_runs)
    assert read_manifest(folder).spool_folder == str(place)
    assert spool_place_of(folder) == place
    maps = Path("/proc/self/maps").read_text()
    assert str(place) in maps
    assert str(folder) not in maps
    assert (place / LOCK_NAME).exists()
    assert not (folder / LOCK_NAME).exists()
    assert contents(folder).column("i") == list(range(5000))  # read from here, while it is written
    run.finish()
    assert places(remote_runs) == []
    assert spool_place_of(folder) == folder
    found = contents(folder)
    assert found.column("i") == list(range(5000))
    assert [said.exit_code for said in found.exits] == [0]


def test_a_run_whose_copy_cannot_be_written_keeps_its_rows_here_and_says_so_once(
    remote_runs, start, folders, contents, monkeypatch, capfd
) -> None:
    monkeypatch.delenv("KELT_SILENT")
    run = start()
    (folder,) = folders()
    in_the_way = folder / "spool-000001.kelt"
    while not in_the_way.is_dir():
        in_the_way.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):
            in_the_way.mkdir()
    for i in range(100):
        run.log({"i": i})
    run.finish()
    (place,) = places(remote_runs)
    assert contents(folder).column("i") == list(range(100))
    assert list(place.glob("spool-*.kelt"))
    assert capfd.readouterr().err.count("cannot be written") == 1


def test_a_forked_child_has_a_place_of_its_own_and_leaves_its_parents(
    remote_runs, start, folders, contents
) -> None:
    run = start()
    run.log({"who": 0})
    pid = os.fork()
    if pid == 0:
        run.log({"who": 1})
        kelt.finish()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(places(remote_runs)) == 1
    run.log({"who": 0})
    run.finish()
    assert places(remote_runs) == []
    parent, child = sorted(folders(), key=lambda folder: len(contents(folder).rows), reverse=True)
    assert contents(parent).column("who") == [0, 0]
    assert contents(child).column("who") == [1]


def test_the_daemons_socket_is_not_looked_for_on_a_network_filesystem(
    tmp_path, monkeypatch
) -> None:
    state_dir = StateDir(tmp_path / "state")
    assert state_dir.socket == tmp_path / "state" / "daemon.sock"
    monkeypatch.setattr(kelt.state_dir, "network_type", lambda _: "nfs4")
    state_dir.create()
    assert tmp_path not in state_dir.socket.parents
    assert stat.S_IMODE(state_dir.socket.parent.stat().st_mode) == 0o700


def test_a_filesystem_without_locks_is_no_reason_not_to_run(tmp_path, monkeypatch) -> None:
    import errno
    import fcntl

    def flock(_fd, _how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    fd = take_lock(tmp_path)
    os.close(fd)
