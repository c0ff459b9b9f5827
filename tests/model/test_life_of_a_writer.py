"""A writer's life as it was, against what the daemon makes of the facts it sees of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kelt_daemon.liveness import ExitStatus, Facts, Goodbye, Life, Phase, Process, judge

STALLED_AFTER_S = 60.0
PROBES = 3


@dataclass
class Truth:
    """What really happened, which nobody tells the daemon."""

    status: ExitStatus | None = None
    was_rebooted: bool = False
    goodbye: Goodbye | None = None
    beat: int = 1
    beat_at_s: float = 0.0
    is_hidden: bool = False

    @property
    def is_alive(self) -> bool:
        return self.status is None and not self.was_rebooted


class LifeOfAWriter(RuleBasedStateMachine):
    """Rules are what befalls trainer, host and daemon; `look` is the daemon's own step."""

    def __init__(self) -> None:
        super().__init__()
        self.truth = Truth()
        self.life = Life()
        self.asserted: list[Life] = []
        self.monotonic_s, self.wall_s = 100.0, 1e9
        self.is_status_known = True
        self.is_spool_read = False
        self.goodbye_seen: Goodbye | None = None
        self.looks_since_beat = 0

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0, 61.0, 3600.0]))
    def time_passes(self, seconds):
        self.monotonic_s += seconds
        self.wall_s += seconds

    @rule(jump_s=st.sampled_from([-3600.0, 3600.0, -3.2e8, 3.2e8]))
    def the_wall_clock_jumps(self, jump_s):
        self.wall_s += jump_s

    @precondition(lambda self: self.truth.is_alive)
    @rule()
    def it_beats(self):
        self.truth.beat += 1
        self.truth.beat_at_s = self.monotonic_s
        self.looks_since_beat = 0

    @precondition(lambda self: self.truth.is_alive and self.truth.goodbye is None)
    @rule(code=st.sampled_from([0, 0, 1, 130]), number=st.sampled_from([0, 0, 15]))
    def it_says_goodbye(self, code, number):
        self.truth.goodbye = Goodbye(code, number, "said", self.wall_s)

    @precondition(lambda self: self.truth.is_alive)
    @rule(
        status=st.sampled_from([ExitStatus(0, 0), ExitStatus(3, 0), ExitStatus(0, 9)]),
        is_told=st.booleans(),
    )
    def it_dies(self, status, is_told):
        self.truth.status = status
        self.is_status_known = is_told

    @precondition(lambda self: self.truth.is_alive)
    @rule(is_hidden=st.booleans())
    def it_can_be_seen_or_not(self, is_hidden):
        self.truth.is_hidden = is_hidden

    @precondition(lambda self: self.monotonic_s > 500)
    @rule()
    def the_host_reboots(self):
        self.truth.was_rebooted = True
        self.the_daemon_restarts()

    @rule()
    def its_records_arrive(self):
        """By a stream, or because the spool of a living writer is followed."""
        self.goodbye_seen = self.truth.goodbye

    @precondition(lambda self: not self.truth.is_alive)
    @rule()
    def its_spool_is_read(self):
        self.its_records_arrive()
        self.is_spool_read = True

    @rule()
    def the_daemon_restarts(self):
        """What it asserted lies in its journal; what it watched is forgotten."""
        self.life = replace(self.asserted[-1]) if self.asserted else Life()
        self.is_spool_read = False
        self.is_status_known = self.is_status_known and self.truth.is_alive
        self.looks_since_beat = 0

    @rule(times=st.sampled_from([1, 1, 2, 5]), apart_s=st.sampled_from([0.1, 5.0, 30.0]))
    def the_daemon_looks(self, times, apart_s):
        for _ in range(times):
            self.monotonic_s += apart_s
            self.wall_s += apart_s
            self.look()

    def look(self):
        truth, before = self.truth, self.life
        process = Process.ALIVE if truth.is_alive else Process.GONE
        if truth.is_hidden and truth.is_alive:
            process = Process.UNKNOWN
        facts = Facts(
            at=self.wall_s,
            monotonic_s=self.monotonic_s,
            was_rebooted=truth.was_rebooted,
            process=process,
            status=truth.status if self.is_status_known else None,
            beat=truth.beat if truth.is_alive else None,
            is_spool_read=self.is_spool_read,
            goodbye=self.goodbye_seen,
        )
        verdict = judge(before, facts, stalled_after_s=STALLED_AFTER_S)
        self.life = verdict.life
        self.looks_since_beat += 1
        if before.phase.is_ended:
            assert self.life == before, "an end is final"
            assert not verdict.is_asserted
        if verdict.is_asserted:
            self.check_assertion(verdict.life)
            self.asserted.append(verdict.life)

    def check_assertion(self, life: Life) -> None:
        truth = self.truth
        if life.phase is Phase.STALLED:
            assert truth.is_alive
            assert not truth.is_hidden
            assert self.monotonic_s - truth.beat_at_s > STALLED_AFTER_S
            assert self.looks_since_beat > PROBES
        elif life.phase is Phase.RUNNING:
            assert truth.is_alive
            assert self.asserted[-1].phase is Phase.STALLED
        else:
            assert not truth.is_alive, "nobody is said to be dead who lives"
            assert truth.goodbye is None, "its own word counts, not ours"
            self.check_end(life)

    def check_end(self, life: Life) -> None:
        status = self.truth.status if self.is_status_known else None
        if self.truth.was_rebooted or status is None or status.signal:
            assert life.phase is Phase.CRASHED
        else:
            assert life.phase is (Phase.FAILED if status.code else Phase.FINISHED)
        if status is not None and not self.truth.was_rebooted:
            assert (life.exit_code, life.signal) == (status.code, status.signal)

    @invariant()
    def an_end_has_a_cause(self):
        if self.life.phase.is_ended:
            assert self.goodbye_seen is not None or not self.truth.is_alive

    @invariant()
    def there_is_one_end_at_most(self):
        assert sum(life.phase.is_ended for life in self.asserted) <= 1

    def teardown(self) -> None:
        """In the end the daemon sees everything, and says how it ended."""
        if self.truth.is_alive:
            self.it_dies(ExitStatus(0, 9), is_told=True)
        self.its_spool_is_read()
        self.look()
        said = self.truth.goodbye
        if said is not None:
            is_fine = said.exit_code == 0 and said.signal == 0
            assert self.life.phase is (Phase.FINISHED if is_fine else Phase.FAILED)
        else:
            assert self.life.phase.is_ended
            assert self.asserted[-1].phase is self.life.phase


LifeOfAWriter.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestLifeOfAWriter = LifeOfAWriter.TestCase
