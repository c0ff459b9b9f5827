"""From log() to the server and back, everything real."""

import json
import math

from harness.stack import eventually

EVERY_KIND = """
    import time, kelt
    run = kelt.init("p", id="kinds", config={"lr": 0.1, "nested": {"depth": 3}, "tags": ["a"]},
                    settings={"stats_sampling_interval_s": 0.1})
    print("one\\nhalf", end="")
    sampling = run._session.output._sampling
    while sampling._metrics is None or sampling._is_under_way:
        time.sleep(0.01)
    run.log({"f": 1.0, "i": 1, "b": True, "none": None, "s": "text", "l": [1, 2.5, "x"]})
    run.log({"f": float("nan"), "i": 2**70, "b": False, "s": "snow \\u2603"})
    run.log({"f": float("inf"), "deep": {"er": {"x": -1}}, "l": []})
    run.log({"f": -0.0, "i": -(2**63)})
    run.log({"only": 1e-300})
    run.finish()
"""


def test_every_kind_of_value_is_read_back_exactly(host, reader):
    host.run(EVERY_KIND)
    rows = eventually(lambda: (r := reader.history("kinds")) and len(r) == 5 and r or None)
    assert [row.pop("step") for row in rows] == [0, 1, 2, 3, 4]
    assert rows[0] == {"f": 1.0, "i": 1, "b": True, "none": None, "s": "text", "l": [1, 2.5, "x"]}
    assert [type(rows[0][k]) for k in ("f", "i", "b")] == [float, int, bool]
    assert math.isnan(rows[1].pop("f"))
    assert rows[1] == {"i": 2**70, "b": False, "s": "snow ☃"}
    assert rows[2] == {"f": math.inf, "deep.er.x": -1, "l": []}
    assert math.copysign(1, rows[3]["f"]) == -1
    assert rows[3]["i"] == -(2**63)
    assert rows[4] == {"only": 1e-300}
    run = reader.run("kinds")
    assert run["config"] == {"lr": 0.1, "nested": {"depth": 3}, "tags": ["a"]}
    assert (run["state"], run["rows"], run["last_step"]) == ("finished", 5, 4)
    assert run["lost_rows"] == 0
    assert run["problems"] == []
    console = reader.get("/runs/-/p/kinds/console")["lines"]
    assert [line["text"] for line in console] == ["one", "half"]
    assert host.kelt("runs", "logs", "p/kinds")[0] == "one\nhalf\n"
    samples = reader.get("/runs/-/p/kinds/history", stream="system")["rows"]
    assert {"system.cpu", "system.proc.memory.rssMB"} <= samples[0]["values"].keys()


def test_many_rows_arrive_once_each_and_in_order(host, reader):
    host.run("""
        import kelt
        with kelt.init("p", id="many") as run:
            for i in range(30_000):
                run.log({"loss": 1 / (i + 1), "i": i})
    """)
    rows = eventually(lambda: (r := reader.history("many")) and len(r) == 30_000 and r or None)
    assert rows == [{"step": i, "loss": 1 / (i + 1), "i": i} for i in range(30_000)]


def test_parts_of_a_row_are_merged_and_steps_that_go_down_are_kept_and_flagged(host, reader):
    host.run("""
        import kelt
        run = kelt.init("p", id="parts")
        run.log({"a": 1}, commit=False)
        run.log({"b": 2})
        run.log({"a": 3}, step=10)
        run.log({"b": 4}, step=10)
        run.log({"late": 5}, step=3)
        run.log({"a": 6})
        kelt.finish()
    """)
    rows = eventually(lambda: (r := reader.history("parts")) and len(r) == 4 and r or None)
    assert rows == [
        {"step": 0, "a": 1, "b": 2},
        {"step": 3, "late": 5},
        {"step": 10, "a": 3, "b": 4},
        {"step": 11, "a": 6},
    ]
    assert reader.run("parts")["rows_step_went_down"] == 1


def test_summary_follows_definitions_and_explicit_values_win(host, reader):
    host.run("""
        import kelt
        run = kelt.init("p", id="summary")
        run.define_metric("val/*", summary="min")
        run.define_metric("acc", summary="best", goal="maximize")
        for i, (loss, acc) in enumerate([(3.0, 0.1), (1.0, 0.9), (2.0, 0.5)]):
            run.log({"loss": loss, "val/loss": loss, "acc": acc, "by_hand": i})
        run.summary["by_hand"] = "mine"
        print(dict(run.summary)["val/loss"], run.summary["loss"], run.summary["by_hand"])
        kelt.finish()
    """)
    run = eventually(
        lambda: (r := reader.run("summary"))["state"] == "finished" and r["rows"] == 3 and r or None
    )
    kept = {k: v for k, v in run["summary"].items() if not k.startswith("_")}
    assert kept == {"loss": 2.0, "val/loss": 1.0, "acc": 0.9, "by_hand": "mine"}


def test_the_clients_own_view_agrees_with_the_server(host, reader, server):
    host.run(EVERY_KIND)
    eventually(lambda: len(reader.history("kinds")) == 5 or None)
    out, _ = host.run("""
        import json, kelt
        run = kelt.Api().run("p/kinds")
        print(json.dumps([run.state, run.config, list(run.scan_history())]))
    """)
    state, config, rows = json.loads(out)
    assert state == "finished"
    assert config["nested"] == {"depth": 3}
    assert rows[1]["i"] == 2**70
    assert [row["_step"] for row in rows] == [0, 1, 2, 3, 4]
    assert math.isnan(rows[1]["f"])


def test_two_runs_in_a_row_and_module_level_calls(host, reader):
    out, _ = host.run("""
        import kelt
        assert kelt.run is None
        kelt.init("p", id="first"); kelt.log({"x": 1}); kelt.config["c"] = 1
        assert kelt.run.id == "first"
        kelt.finish()
        assert kelt.run is None
        kelt.init("p", id="second"); kelt.log({"x": 2}); kelt.finish()
        try:
            kelt.log({"x": 3})
        except kelt.KeltError as error:
            print(error)
    """)
    assert "kelt.init" in out
    eventually(lambda: reader.run("second")["state"] == "finished" or None)
    assert reader.history("first") == [{"step": 0, "x": 1}]
    assert reader.history("second") == [{"step": 0, "x": 2}]
