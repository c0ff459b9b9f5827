"""Resume, fork and rewind by an unmodified wandb client, also of runs that kelt itself logged."""

from __future__ import annotations

from pathlib import Path

from conformance.conftest import Client, Kelt, log_natively

from harness.amounts import long_only

FIRST = """
r = wandb.init(id="r1", config={"lr": 0.1}, tags=["t"])
for i in range(5):
    r.log({"i": i, "old": 1})
r.finish()
"""


def test_resume_goes_on_after_the_last_step(client: Client, kelt: Kelt) -> None:
    client.run(FIRST)
    client.run(
        """
        r = wandb.init(id="r1", resume="must", config={"more": 2})
        assert r.config["lr"] == 0.1 and r.summary["old"] == 1, (dict(r.config), r.summary)
        for i in range(5, 8):
            r.log({"i": i})
        r.finish()
        """
    )
    assert kelt.values("r1", "i") == [(i, i) for i in range(8)]
    run = kelt.run("r1")
    assert run["config"] == {"lr": 0.1, "more": 2}
    assert (run["state"], run["tags"], run["archived"]) == ("finished", ["t"], [])
    assert (run["summary"]["i"], run["summary"]["old"]) == (7, 1)
    assert len(run["sessions"]) == 2
    assert not run["losses"]


@long_only
def test_resume_must_without_a_run_fails_at_the_client(client: Client, kelt: Kelt) -> None:
    client.run('wandb.init(id="r1", resume="must")', fails=True)


@long_only
def test_resume_never_of_a_run_fails_at_the_client(client: Client, kelt: Kelt) -> None:
    client.run(FIRST)
    client.run('wandb.init(id="r1", resume="never")', fails=True)
    assert kelt.run("r1")["rows"] == 5


@long_only
def test_resume_allow_and_never_begin_what_is_not_there(client: Client, kelt: Kelt) -> None:
    for mode in ("allow", "never"):
        client.run(f'r = wandb.init(id="{mode}", resume="{mode}"); r.log(dict(a=1)); r.finish()')
        assert kelt.values(mode, "a") == [(0, 1)]


@long_only
def test_resume_auto_finds_its_run_again(client: Client, kelt: Kelt) -> None:
    client.run('r = wandb.init(resume="auto", id=None); r.log(dict(a=1)); os._exit(1)', fails=True)
    (run,) = kelt.get("/runs", project="p")["runs"]
    before = run["rows"]
    client.run('r = wandb.init(resume="auto"); r.log(dict(a=2)); r.finish()')
    (run,) = kelt.get("/runs", project="p")["runs"]
    assert run["rows"] == before + 1


@long_only
def test_a_killed_run_is_resumed(client: Client, kelt: Kelt) -> None:
    process = client.start('r = wandb.init(id="r1"); r.log(dict(a=1)); time.sleep(60)')
    kelt.until("r1", 1)
    process.kill()
    process.communicate()
    client.run('r = wandb.init(id="r1", resume="allow"); r.log(dict(a=2)); r.finish()')
    assert kelt.values("r1", "a") == [(0, 1), (1, 2)]
    assert kelt.run("r1")["state"] == "finished"


def test_a_fork_inherits_up_to_its_step(client: Client, kelt: Kelt) -> None:
    client.run(FIRST)
    client.run(
        """
        r = wandb.init(id="f1", fork_from="r1?_step=2", config={"lr": 0.5})
        r.log({"i": 100})
        r.finish()
        """
    )
    assert kelt.values("f1", "i") == [(0, 0), (1, 1), (2, 2), (3, 100)]
    run = kelt.run("f1")
    assert run["config"] == {"lr": 0.5}
    assert (run["kind"], run["lineage"][0]["run_id"]) == ("forked", "r1")
    assert run["lineage"][0]["fork_step"] == 2
    assert kelt.values("r1", "i") == [(i, i) for i in range(5)]


def test_a_fork_of_a_run_that_comes_later(client: Client, kelt: Kelt) -> None:
    client.run('r = wandb.init(id="f1", fork_from="r1?_step=2"); r.log({"i": 100}); r.finish()')
    assert kelt.values("f1", "i") == [(3, 100)]
    client.run(FIRST)
    assert kelt.values("f1", "i") == [(0, 0), (1, 1), (2, 2), (3, 100)]


def test_a_rewind_keeps_what_it_left(client: Client, kelt: Kelt) -> None:
    client.run(FIRST)
    client.run(
        """
        r = wandb.init(id="r1", resume_from="r1?_step=2")
        r.log({"i": 100})
        r.finish()
        """
    )
    assert kelt.values("r1", "i") == [(0, 0), (1, 1), (2, 2), (3, 100)]
    run = kelt.run("r1")
    assert (run["kind"], run["config"], run["tags"]) == ("rewound", {"lr": 0.1}, ["t"])
    (archived,) = run["archived"]
    assert kelt.get(f"/branches/{archived}")["rows"] == 5


def test_a_run_that_goes_on_is_rewound(client: Client, kelt: Kelt) -> None:
    process = client.start(
        'r = wandb.init(id="r1"); [r.log(dict(i=i)) for i in range(5)]; time.sleep(60)'
    )
    kelt.until("r1", 1)
    process.kill()
    process.communicate()
    client.run('r = wandb.init(id="r1", resume_from="r1?_step=0"); r.log(dict(i=9)); r.finish()')
    assert kelt.values("r1", "i") == [(0, 0), (1, 9)]


def test_native_runs_are_forked_resumed_and_rewound(
    client: Client, kelt: Kelt, tmp_path: Path
) -> None:
    log_natively(
        kelt, tmp_path,
        """
        for name in ("a", "b", "c"):
            run = kelt.init(project="p", id=name, config={"lr": 0.1})
            for i in range(4):
                run.log({"i": i, "x": 1.5})
            run.finish()
        """,
    )  # fmt: skip
    client.run('r = wandb.init(id="f", fork_from="a?_step=1"); r.log(dict(i=50)); r.finish()')
    client.run('r = wandb.init(id="b", resume="must"); r.log(dict(i=60)); r.finish()')
    client.run('r = wandb.init(id="c", resume_from="c?_step=0"); r.log(dict(i=70)); r.finish()')
    assert kelt.values("f", "i") == [(0, 0), (1, 1), (2, 50)]
    assert kelt.values("b", "i") == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 60)]
    assert kelt.values("c", "i") == [(0, 0), (1, 70)]
    assert kelt.run("b")["summary"]["x"] == 1.5
    assert kelt.run("c")["config"] == {"lr": 0.1}
