"""Flipped bytes and cut files of a run folder: the daemon goes on, and says exactly what is gone."""

from __future__ import annotations

import os
from random import Random

import pytest

from harness.crash_histories import environment_number
from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import MemoryUpstream
from kelt.journal.batches import BatchCutter
from kelt.journal.sealing import Sealer

pytestmark = pytest.mark.asyncio
ROWS = 400
LAST = ROWS + 1  # the goodbye
CASES = environment_number("KELT_TORTURE_DAMAGE_CASES", 6)
FIRST_SEED = environment_number("KELT_TORTURE_FIRST_SEED", 0)
SPOOL = ["spool-000001.kelt"]
KEPT = [
    "journal-000001.kelt", "journal-000003.kelt", "cursors.json", "run.json", "run.json.copy",
    "witness.json",
]  # fmt: skip


def dead_spool(runs, upstream):
    """What a trainer left that died before any daemon was there."""
    spool = make_folder(runs / "r", upstream.url, ROWS, pid=0, pid_start_ticks=1)
    list(Sealer(spool=spool, cutter=BatchCutter()).batches())  # checksums, as the sender fills in
    spool.close()
    return spool.writer_id


def damage(path, rng, *, is_cut=False):
    """Flips a bit where something was written, or cuts the file."""
    raw = bytearray(path.read_bytes())
    used = len(bytes(raw).rstrip(b"\0"))
    if is_cut:
        os.truncate(path, rng.randrange(used))
        return
    raw[rng.randrange(used)] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)


async def journaled(runs, upstream):
    """A run that ended while its daemon could send nothing: all of it is in the journal."""
    spool = make_folder(runs / "r", upstream.url, ROWS)
    cuts = list(Sealer(spool=spool, cutter=BatchCutter(batch_bytes_max=1024)).batches())
    async with daemon_parts(runs, first_segment_bytes=12288, segment_bytes_max=12288) as parts:
        folder = await parts.adopt(runs / "r")
        for cut in cuts:
            folder.offer(spool.writer_id, cut.first_seq, cut.last_seq, cut.frames)
        parts.committer.submit(folder)
        spool.close()
        (runs / "r" / "lock").touch()  # held by nobody: the writer was closed
        folder.changed.notify()
        await parts.until(lambda: folder.is_over and folder.durable_records >= LAST, "read in")
    assert not list((runs / "r").glob("spool-*"))
    return spool.writer_id


def judge(upstream, writer_id):
    """What arrived and what was said to be lost are together everything, and do not overlap."""
    records = upstream.records[writer_id]
    arrived = {seq for seq, record in records.items() if record.kind != 10}
    lost: set[int] = set()
    for loss in upstream.losses(writer_id):
        said = set(range(loss.first_seq, loss.last_seq + 1)) if loss.first_seq else set()
        assert not said & lost, "said twice"
        lost |= said
    assert upstream.violations == []
    assert not arrived & lost
    return arrived, lost


@pytest.mark.covers(phase="recovery", fault="bit flip")
@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("name", [*SPOOL, *KEPT])
async def test_only_what_was_damaged_is_lost_and_the_loss_says_exactly_that(
    tmp_path, name, is_cut, record_faults
):
    upstream = MemoryUpstream()
    async with upstream:
        pass  # chooses the ports
    for case in range(CASES):
        seed = FIRST_SEED + case
        rng, runs = Random(seed), tmp_path / f"runs-{case}"
        make = dead_spool if name in SPOOL else journaled
        writer_id = make(runs, upstream) if name in SPOOL else await make(runs, upstream)
        damage(runs / "r" / name, rng, is_cut=is_cut)
        async with upstream, daemon_parts(runs) as parts:
            await parts.registry.rescan()
            (folder,) = parts.registry.folders.values()
            await parts.until(lambda f=folder: f.is_over and f.is_committed, f"seed {seed}")
        arrived, lost = judge(upstream, writer_id)
        missing = set(range(1, LAST + 1)) - arrived
        if name.startswith("journal"):
            assert missing == lost, f"seed {seed}"
            # 1024 bytes of frames are an entry; a header takes its segment with it.
            assert len(missing) < LAST, f"seed {seed}"
        elif name in SPOOL:
            judge_spool(upstream, writer_id, missing, lost, seed)
        else:
            assert missing == lost == set(), f"seed {seed}"
        record_faults(1)


def judge_spool(upstream, writer_id, missing, lost, seed):
    """An end that is gone has no numbers: it is said, without them."""
    rest = missing - lost
    assert rest == (set(range(min(rest), LAST + 1)) if rest else set()), f"seed {seed}"
    unknown = [
        loss
        for witness in upstream.records
        for loss in upstream.losses(witness)
        if not loss.last_seq and loss.writer_id == writer_id
    ]
    assert unknown or not rest, f"seed {seed}: {sorted(rest)[:5]} lost in silence"
