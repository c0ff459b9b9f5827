"""Faults planted on purpose: each takes one mechanism out, and the named tests must turn red.

An edit is searched in all modules of a folder, because files are split and renamed; its text must
occur exactly once there.
"""

from __future__ import annotations

from dataclasses import dataclass

DAEMON, SERVER, SDK = "daemon/kelt_daemon", "server/kelt_server", "sdk/kelt"
PROTO = "proto/kelt_proto"
_KILL = (
    "tests/kill_points/test_kill_points.py::"
    "test_a_kill_at_this_point_loses_nothing_and_doubles_nothing[{}:0]"
)


@dataclass(frozen=True)
class Edit:
    """One replacement of a text."""

    folder: str
    search: str
    replace: str


@dataclass(frozen=True)
class Mutant:
    """A fault with the tests that must notice it."""

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def _kill(point: str) -> str:
    return _KILL.format(point)


MUTANTS = (
    Mutant(
        "sync left out",
        "G2",
        (Edit(DAEMON, ".sync(opened.fd)\n", ".sync\n"),),
        (
            (
                "tests/daemon/test_journal.py::"
                "test_a_failed_sync_is_not_repeated_and_its_entries_go_into_a_new_segment"
            ),
        ),
    ),
    Mutant(
        "acknowledge before sync",
        "G2",
        (
            Edit(
                DAEMON,
                "        cursor.accepted = entry.last_seq\n",
                "        cursor.accepted = cursor.durable = entry.last_seq\n",
            ),
        ),
        (
            (
                "tests/daemon/test_run_folders.py::"
                "test_a_full_disk_acknowledges_nothing_is_said_and_heals_by_itself"
            ),
        ),
    ),
    Mutant(
        "retry a failed sync",
        "G2",
        (
            Edit(
                DAEMON,
                "self._raise_if_full(error)\n            self._abandon()\n        try:\n",
                "self._raise_if_full(error)\n        try:\n",
            ),
        ),
        (
            (
                "tests/daemon/test_journal.py::"
                "test_a_failed_sync_is_not_repeated_and_its_entries_go_into_a_new_segment"
            ),
        ),
    ),
    Mutant(
        "append after a torn tail",
        "G2",
        (
            Edit(
                DAEMON,
                "            self._open = self._create(entries[0].size_bytes)\n",
                "            torn = self.segments[-1] if self.segments else None\n"
                "            if torn is not None and not hasattr(torn, 'number_of_mine'):\n"
                "                fd = os.open(torn.path, os.O_RDWR)\n"
                "                self._open = OpenSegment(torn, fd, os.fstat(fd).st_size)\n"
                "            opened = self._open\n"
                "            if opened is None or opened.room_bytes < entries[0].size_bytes:\n"
                "                self._open = self._create(entries[0].size_bytes)\n",
            ),
        ),
        (
            (
                "tests/daemon/test_journal.py::"
                "test_after_a_start_nothing_is_written_behind_what_was_there"
            ),
        ),
    ),
    Mutant(
        "folder not synced after a new segment",
        "G2",
        (
            Edit(
                DAEMON,
                "        filesystem.sync_folder(path.parent)\n    except OSError:\n",
                "    except OSError:\n",
            ),
        ),
        ("tests/daemon/test_power_cuts.py",),
    ),
    Mutant(
        "mid-log damage deletes later segments",
        "G6",
        (
            Edit(
                DAEMON,
                "                found.damages.append(item)\n",
                "                found.damages.append(item)\n"
                "                for later in folder.glob('journal-*.kelt'):\n"
                "                    if later > known.path:\n"
                "                        later.unlink()\n",
            ),
        ),
        ("tests/daemon/test_journal.py::test_a_damaged_header_costs_its_segment_alone",),
    ),
    Mutant(
        "socket unlinked without the lock",
        "G8",
        (
            Edit(
                DAEMON,
                "        _take(fd, state_dir)\n",
                "        state_dir.socket.unlink(missing_ok=True)\n        _take(fd, state_dir)\n",
            ),
        ),
        (
            (
                "tests/daemon/test_daemon_process.py::"
                "test_of_eight_daemons_started_at_once_one_serves_and_the_others_say_why"
            ),
        ),
    ),
    Mutant(
        "journal deleted before the server has it",
        "G3",
        (
            Edit(
                DAEMON,
                "    return segment.crc_seed is not None and all(\n",
                "    return segment.crc_seed is not None or all(\n",
            ),
        ),
        (_kill("committed_ack_lost:before"),),
    ),
    Mutant(
        "loss marker swallowed",
        "G3",
        (
            Edit(
                DAEMON,
                "    return [Outgoing(writer_id, first_seq, last_seq, frames)]\n",
                "    return []\n",
            ),
        ),
        (
            (
                "tests/daemon/test_run_folders.py::"
                "test_a_server_that_wants_more_than_is_still_held_gets_a_loss_and_no_loop"
            ),
        ),
    ),
    Mutant(
        "the local cursor is believed, not the server's",
        "G3",
        (
            Edit(
                DAEMON,
                "            cursor.committed = cursors.get(writer_id, 0)\n",
                "            cursor.committed = max(cursor.committed, cursors.get(writer_id, 0))\n",
            ),
        ),
        (
            (
                "tests/daemon/test_daemon_process.py::"
                "test_a_server_restored_from_a_backup_is_given_again_what_it_lost"
            ),
        ),
    ),
    Mutant(
        "synced is said of what is only on this host's disk",
        "G3",
        (
            Edit(
                DAEMON,
                "committed_through=min(self.cursor.committed, self.cursor.durable)",
                "committed_through=self.cursor.durable",
            ),
        ),
        (
            (
                "tests/sdk/test_sender.py::"
                "test_finish_leaves_the_rest_to_the_daemon_where_the_upstream_is_away"
            ),
        ),
    ),
    Mutant(
        "server takes repeats again",
        "G3",
        (
            Edit(
                SERVER,
                "            after_seq=state.committed_through,\n",
                "            after_seq=0,\n",
            ),
            Edit(
                SERVER,
                "    if last_seq <= state.metrics_cursor:\n        return\n",
                "    if False:\n        return\n",
            ),
            Edit(
                SERVER,
                "    if block.seqs[0] <= state.metrics_cursor:\n",
                "    if False:\n",
            ),
            Edit(
                SERVER,
                "        if batch.last_seq <= state.committed_through:\n",
                "        if False:\n",
            ),
        ),
        ("tests/server/test_commits.py::test_a_repeat_changes_nothing_and_is_acknowledged",),
    ),
    Mutant(
        "server goes on behind a gap",
        "G3",
        (
            Edit(
                SERVER,
                "        elif is_gap(batch.first_seq, state):\n",
                "        elif is_gap(batch.first_seq, state) and False:\n",
            ),
        ),
        ("tests/server/test_commits.py::test_a_gap_takes_nothing_and_says_where_to_go_back_to",),
    ),
    Mutant(
        "server acknowledges what one of two stores has",
        "G3",
        (
            Edit(
                SERVER,
                "return min(self.catalog_cursor, self.metrics_cursor)",
                "return max(self.catalog_cursor, self.metrics_cursor)",
            ),
        ),
        (_kill("committed_ack_lost:inside"),),
    ),
    Mutant(
        "metrics cursor outside the rows' transaction",
        "G3",
        (
            Edit(
                SERVER,
                "        numbers = [self._writers.numbers[writer_id] for writer_id in cursors]\n",
                '        connection.execute("COMMIT")\n        connection.execute("BEGIN")\n'
                "        numbers = [self._writers.numbers[writer_id] for writer_id in cursors]\n",
            ),
        ),
        ("tests/kill_points/test_store_kills.py",),
    ),
    Mutant(
        "spool released before the journal has it",
        "G1",
        (
            Edit(
                SDK,
                "self._spool.release(min(self.state.durable_through, self._sealer.sealed_seq - 1))",
                "self._spool.release(self._sealer.sealed_seq - 1)",
            ),
        ),
        (
            (
                "tests/sdk/test_sender.py::"
                "test_a_daemon_that_stands_still_delays_nothing_and_later_gets_everything_in_order"
            ),
        ),
    ),
    Mutant(
        "a spool that lies apart from its run folder is not looked for",
        "G1",
        (
            Edit(
                SDK,
                "    return apart if stat.S_ISDIR(status.st_mode) and is_private else folder\n",
                "    return folder\n",
            ),
        ),
        (
            (
                "tests/end_to_end/test_spool_apart.py::"
                "test_every_row_of_a_killed_trainer_is_found_where_its_spool_lies"
            ),
        ),
    ),
    Mutant(
        "first word written before the payload",
        "G1",
        (
            Edit(
                SDK,
                "interned.pack_into(\n",
                "segment.words.__setitem__(pos >> 3, interned.word0) or interned.pack_into(\n",
            ),
        ),
        (_kill("spool_write:inside"),),
    ),
    Mutant(
        "a silent run is declared dead at once",
        "G9",
        (Edit(SERVER, "    if silent_s > lease_s:\n", "    if silent_s > 0:\n"),),
        ("tests/server/test_liveness.py",),
    ),
    Mutant(
        "a forked child writes on as its parent",
        "G13",
        (
            Edit(
                SDK,
                "        self._session.abandon()\n        self._session = None\n",
                "        return\n",
            ),
        ),
        (
            "tests/sdk/test_sender.py::test_a_child_forked_with_a_live_stream_logs_and_the_parent_goes_on",
        ),
    ),
    Mutant(
        "a shared run is rewound under its other writers",
        "G10",
        (
            Edit(
                SDK,
                "    if others:\n        raise BranchPoint",
                "    if False:\n        raise BranchPoint",
            ),
        ),
        ("tests/sdk/test_shared_mode.py::test_only_a_primary_that_is_alone_may_rewind",),
    ),
    Mutant(
        "log() makes a system call",
        "G4",
        (
            Edit(
                SDK, "interned.pack_into(\n", "__import__('os').getpid() and interned.pack_into(\n"
            ),
        ),
        ("tests/end_to_end/test_log_waits_for_nothing.py::test_log_makes_no_system_call",),
    ),
    Mutant(
        "a full disk is taken for a broken one",
        "G7",
        (
            Edit(
                DAEMON,
                "_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})",
                "_NO_ROOM = frozenset({errno.EFBIG})",
            ),
        ),
        (
            (
                "tests/daemon/test_journal.py::"
                "test_a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_room"
            ),
        ),
    ),
    Mutant(
        "a stop waits for no sync",
        "G12",
        (
            Edit(
                DAEMON,
                "for writer in self._writers.values():\n                        "
                "await self._committer.drain(writer.folder)",
                "await anyio.sleep(0)",
            ),
            Edit(DAEMON, "await _drain(committer)", "await anyio.sleep(0)"),
        ),
        ("tests/kill_points/test_stops.py",),
    ),
    Mutant(
        "any length of a payload is believed",
        "G14",
        (Edit(PROTO, "    if length > PAYLOAD_BYTES_MAX:\n", "    if length > 2**32:\n"),),
        ("tests/proto/test_frames.py::test_a_length_beyond_the_limit_is_damage",),
    ),
)
