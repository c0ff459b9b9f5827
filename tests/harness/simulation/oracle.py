"""Judges what came of a seed from what the players were told and did, and from the store alone."""

from __future__ import annotations

import trio

from harness.memory_upstream import ASSERTION, EXIT, LOSS, ROW
from kelt_proto.v1.record_pb2 import Assertion, Exit, Loss

from .trainers import Trainer
from .upstream import Store, Stored, row_value

#: The daemon may be slow to look, and what it sent may be slow to arrive.
BEAT_AFTER_DEATH_S_MAX = 120.0
#: A shorter pause is no stall, whatever the wall clock says.
STALLED_AFTER_S_MIN = 50.0
ENDED = (Assertion.FINISHED, Assertion.FAILED, Assertion.CRASHED)


class Oracle:
    def __init__(self, world) -> None:
        self._world = world
        self.violations: list[str] = []
        #: For each writer the highest record that a restore may have taken, and a trim after it.
        self.may_be_trimmed: dict[bytes, int] = {}
        world.store.on_commit.append(self._look_at_commit)
        world.store.on_beats.append(self.look_at_beats)

    def _say(self, trainer: Trainer, text: str) -> None:
        self.violations.append(f"{trainer.name}: {text}")

    def _trainer(self, writer_id: bytes) -> Trainer | None:
        return next((t for t in self._world.trainers if t.writer_id == writer_id), None)

    def _look_at_commit(self, stored: Stored) -> None:
        """Nobody is said to be dead who lives."""
        if stored.kind != ASSERTION:
            return
        said = Assertion.FromString(stored.payload)
        trainer = self._trainer(said.writer_id)
        if trainer is None:
            self.violations.append("an assertion about nobody")
        elif trainer.is_foreign:
            self._say(trainer, "judged, though it is another machine's")
        elif said.state in ENDED and trainer.told.ended_at_s is None:
            self._say(trainer, f"said to be dead while it lives: {said.reason}")
        elif said.state == Assertion.STALLED and trainer.told.frozen_s < STALLED_AFTER_S_MIN:
            self._say(trainer, f"said to be stalled and never was: {said.reason}")

    def look_at_beats(self, beats) -> None:
        """Nobody is said to live who is long dead."""
        for writer_id, _ in beats:
            trainer = self._trainer(writer_id)
            if trainer is None or trainer.is_foreign:
                self.violations.append("a beat of nobody here")
                continue
            at_s = trainer.process.ended_at_s
            if at_s is not None and trio.current_time() - at_s > BEAT_AFTER_DEATH_S_MAX:
                self._say(trainer, "said to live while it is dead")

    def remember_restore(self, store: Store) -> None:
        """What was committed before a restore may have been trimmed, and then is lost."""
        self.may_be_trimmed.update(store.ever)

    # -- at the end ------------------------------------------------------------------------------

    def missing(self, trainer: Trainer) -> str:
        """Why it is not all there yet; empty when it is."""
        told, store = trainer.told, self._world.store
        if self._was_delivered_and_trimmed(trainer):
            return ""
        cursor = store.cursor(trainer.writer_id)
        wanted = told.durable if told.lost_power else told.written
        if cursor < wanted:
            return f"{trainer.name}: {cursor} of {wanted} records"
        state, _ = self._state(trainer)
        is_silent = trainer.is_foreign or (told.lost_power and told.goodbye is not None)
        if state is None and not is_silent:
            return f"{trainer.name}: no final state"
        return ""

    def _was_delivered_and_trimmed(self, trainer: Trainer) -> bool:
        """Whether a server had all of it, and this host kept nothing that another could get."""
        told, writer_id = trainer.told, trainer.writer_id
        if writer_id not in self.may_be_trimmed:
            return False
        # A folder from elsewhere is read and left as it is; its journal lies beside the runs.
        kept = list(trainer.folder.glob("*.kelt"))
        if trainer.is_foreign:
            kept = [
                path
                for source in self._world.root.glob("replays/*/source")
                if source.read_text(encoding="utf-8").strip() == str(trainer.folder)
                for path in source.parent.glob("journal-*.kelt")
            ]
        wanted = told.durable if told.lost_power else told.written
        return not kept and self._world.store.ever[writer_id] >= wanted

    def judge_gaps(self) -> None:
        """Nobody may go on behind a gap that it was told of."""
        for writer_id, through in self._world.store.gaps.items():
            stands_at = self._world.store.cursor(writer_id)
            self.violations.append(f"told of a gap at {stands_at}, never sent up to {through}")

    def judge(self) -> list[str]:
        """All that is wrong."""
        self.violations += self._world.store.violations
        for trainer in self._world.trainers:
            self.violations += [f"{trainer.name}: {v}" for v in trainer.told.violations]
            bad = [w for w in trainer.listener.warnings if w[0].startswith("round")]
            if bad:
                self._say(trainer, f"the sender failed: {bad}")
            if text := self.missing(trainer):
                self.violations.append(f"never arrived: {text}")
            self._judge_records(trainer)
            self._judge_state(trainer)
        return self.violations

    def _judge_records(self, trainer: Trainer) -> None:
        told = trainer.told
        through = 0
        for stored in self._world.store.records.get(trainer.writer_id, []):
            if stored.first_seq != through + 1:
                self._say(trainer, f"after {through} comes {stored.first_seq}")
            through = stored.last_seq
            if stored.kind == LOSS:
                self._judge_loss(trainer, stored)
            elif stored.kind == ROW:
                value = row_value(stored.payload)
                if value != stored.last_seq:
                    self._say(trainer, f"record {stored.last_seq} is row {value}")
            elif told.controls.get(stored.last_seq) != (stored.kind, stored.payload):
                self._say(trainer, f"record {stored.last_seq} is not what was said in it")
        if through > told.written:
            self._say(trainer, f"{through} records of {told.written} written")

    def _judge_loss(self, trainer: Trainer, stored: Stored) -> None:
        loss = Loss.FromString(stored.payload)
        said = (loss.first_seq, loss.last_seq)
        if loss.writer_id != trainer.writer_id or said[1] != stored.last_seq:
            self._say(trainer, f"a loss of {said} at {stored.last_seq}")
        if loss.reason.startswith("refused"):
            if stored.first_seq != stored.last_seq or stored.last_seq not in trainer.told.poison:
                self._say(trainer, f"set aside {said}, refused {sorted(trainer.told.poison)}")
            return
        if stored.last_seq <= self.may_be_trimmed.get(trainer.writer_id, 0):
            return
        if trainer.told.lost_power and stored.first_seq > trainer.told.durable:
            return
        self._say(
            trainer,
            f"lost {stored.first_seq} to {stored.last_seq} ({loss.reason}); "
            f"durable were {trainer.told.durable}",
        )

    def _state(self, trainer: Trainer):
        store = self._world.store
        for stored in store.records.get(trainer.writer_id, []):
            if stored.kind == EXIT:
                said = Exit.FromString(stored.payload)
                is_fine = said.exit_code == 0 and said.signal == 0
                return (Assertion.FINISHED if is_fine else Assertion.FAILED), said
        asserted = self._assertions(trainer)
        ended = [said for said in asserted if said.state in ENDED]
        return (ended[-1].state, ended[-1]) if ended else (None, None)

    def _assertions(self, trainer: Trainer) -> list[Assertion]:
        found = [
            Assertion.FromString(stored.payload)
            for records in self._world.store.records.values()
            for stored in records
            if stored.kind == ASSERTION
        ]
        return [said for said in found if said.writer_id == trainer.writer_id]

    def _judge_state(self, trainer: Trainer) -> None:
        state, said = self._state(trainer)
        told = trainer.told
        if state is None:
            return  # `missing` has judged whether there must be one
        if told.goodbye is not None:
            is_fine = told.goodbye == (0, 0)
            wanted = {Assertion.FINISHED if is_fine else Assertion.FAILED}
            if told.lost_power:  # its last words may have gone with the spool
                wanted.add(Assertion.CRASHED)
        else:
            code, signal = told.death
            known = Assertion.CRASHED
            if not signal:
                known = Assertion.FAILED if code else Assertion.FINISHED
            wanted = {known}
            if self._world.may_not_know(trainer):
                wanted.add(Assertion.CRASHED)
            if state == known and known != Assertion.CRASHED and said.exit_code != code:
                self._say(trainer, f"said to have ended with {said.exit_code}, not {code}")
            if said.signal not in {0, signal}:
                self._say(trainer, f"said to be killed by {said.signal}, not {signal}")
        if state not in wanted:
            self._say(trainer, f"said to be {Assertion.State.Name(state)}: {said.reason}")
