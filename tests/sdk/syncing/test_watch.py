from __future__ import annotations

import pytest

from kelt.syncing.watch import SILENCE_S_MAX, SyncWatch, upstream_sentence

REACHABLE = {"state": "reachable", "reason": "", "url": "http://up"}
AWAY = {"state": "unreachable", "reason": "connection refused.", "url": "http://up"}
REFUSED = {"state": "refused", "reason": "the key is wrong.", "url": "http://up"}


def folder(*, records, committed, error="", path="/r", skipped=0):
    is_synced = not error and committed == records
    return {
        "path": path, "records": records, "committed": committed, "error": error,
        "skipped": skipped, "is_synced": is_synced,
    }  # fmt: skip


def watch_after(*reports, wait_s=10.0, is_done=False):
    watch = SyncWatch(wait_s=wait_s, now=0.0)
    for now, upstream, folders in reports:
        watch.take(folders=folders, upstream=upstream, is_done=is_done, now=now)
    return watch


def test_all_committed_is_a_success():
    watch = watch_after((1, REACHABLE, [folder(records=5, committed=5)]), is_done=True)
    assert watch.is_over(now=1)
    assert watch.failure() is None


def test_what_was_sent_before_it_was_asked_for_again_is_not_skipped():
    watch = SyncWatch(wait_s=10.0, now=0.0, had={"/r": 2})
    reports = [folder(records=9, committed=9, skipped=7), folder(records=9, committed=9, path="/s")]
    watch.take(folders=reports, upstream=REACHABLE, is_done=True, now=1)
    assert [run["skipped"] for run in watch.folders] == [2, 0]


def test_nothing_to_send_is_a_success():
    assert watch_after((1, REACHABLE, []), is_done=True).failure() is None


@pytest.mark.parametrize(
    "bad", [folder(records=5, committed=4), folder(records=5, committed=5, error="no run.json")]
)
def test_one_run_that_failed_fails_the_command_and_the_others_count(bad):
    good = folder(records=1, committed=1, path="/good")
    failure = watch_after((1, REACHABLE, [good, bad]), is_done=True).failure()
    assert not failure.is_unreachable
    assert "1 run of 2" in failure.sentence


def test_an_upstream_out_of_reach_is_waited_for_and_then_reported_as_unreachable():
    some = [folder(records=5, committed=1)]
    watch = watch_after((1, AWAY, some), (5, AWAY, some))
    assert not watch.is_over(now=10.9)
    assert watch.is_over(now=11)
    assert watch.failure().is_unreachable
    assert "connection refused" in watch.failure().sentence


def test_an_upstream_is_named_once_whether_or_not_the_daemon_names_it():
    assert upstream_sentence(AWAY) == "http://up: connection refused."
    named = AWAY | {"reason": "http://up does not answer"}
    assert upstream_sentence(named) == "http://up does not answer."
    assert upstream_sentence(AWAY | {"reason": ""}) == "http://up: it is unreachable."


def test_progress_and_a_reachable_upstream_begin_the_wait_anew():
    first, more = [folder(records=5, committed=1)], [folder(records=5, committed=2)]
    assert not watch_after((1, AWAY, first), (9, AWAY, more)).is_over(now=18.9)
    assert not watch_after((1, AWAY, first), (9, REACHABLE, first)).is_over(now=18.9)


def test_a_daemon_that_has_not_reported_yet_says_nothing_of_the_upstream():
    watch = SyncWatch(wait_s=10.0, now=0.0)
    assert not watch.is_over(now=20)
    watch.take(folders=[folder(records=5, committed=0)], upstream=AWAY, is_done=False, now=20)
    assert not watch.is_over(now=29.9)
    assert watch.is_over(now=30)


def test_a_refusal_that_lasts_is_a_failure_and_not_an_outage():
    some = [folder(records=5, committed=0)]
    watch = watch_after((1, REFUSED, some))
    assert not watch.is_over(now=10.9)
    assert watch.is_over(now=11)
    assert not watch.failure().is_unreachable
    assert "the key is wrong" in watch.failure().sentence


def test_a_daemon_that_falls_silent_is_not_waited_for():
    watch = watch_after((1, REACHABLE, []), wait_s=1e9)
    assert not watch.is_over(now=SILENCE_S_MAX)
    assert watch.is_over(now=1 + SILENCE_S_MAX)
    assert watch.failure().is_unreachable


def test_a_reply_names_only_what_changed_and_the_rest_stays():
    watch = watch_after(
        (1, REACHABLE, [folder(records=5, committed=0), folder(records=2, committed=2, path="/s")]),
        (2, REACHABLE, [folder(records=5, committed=5)]),
        is_done=True,
    )
    assert [f["committed"] for f in watch.folders] == [5, 2]
    assert watch.failure() is None


def test_committed_without_the_upstreams_word_is_not_synced():
    said = folder(records=5, committed=5) | {"is_synced": False}
    assert watch_after((1, REACHABLE, [said]), is_done=True).failure() is not None


def test_what_was_sent_before_a_daemon_died_still_counts_as_sent():
    watch = watch_after(
        (1, REACHABLE, [folder(records=9, committed=4, skipped=1)]),
        (2, REACHABLE, [folder(records=9, committed=9, skipped=4)]),
    )
    assert watch.folders[0]["skipped"] == 1
