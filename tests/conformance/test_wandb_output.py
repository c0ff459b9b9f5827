"""What wandb's clients put out beside their rows: the console and system metrics, there and back."""

from __future__ import annotations

from conformance.conftest import Client, Kelt
from conformance.test_wandb_sync import again

from harness.amounts import long_only

OUTPUT = {"WANDB_CONSOLE": "wrap", "WANDB_X_STATS_SAMPLING_INTERVAL": "0.5"}
RUN = """
r = wandb.init(id="r1", resume=os.environ.get("HOW") or None)
print("one\\n\\nthree")
r.log({"i": 0})
for n in range(30):
    print(f"\\r{n} %", end="", flush=True)
    time.sleep(0.05)
print()
print("to the other stream", file=sys.stderr)
r.finish()
"""
LINES = ["one", "", "three", "29 %", "to the other stream"]
READ = """
r = wandb.Api().run("p/r1")
lines = list(r.console_logs(per_page=2))
print(json.dumps({
    "lines": [[l.number, l.content, l.level, l.timestamp is not None] for l in lines],
    "last": [l.content for l in r.console_logs(last=1)],
    "system": r.history(stream="system", pandas=False),
    "latest": r.system_metrics,
    "history": len(r.history(pandas=False)),
    "file": r.file("output.log").download(root=os.environ["HOME"], replace=True).read(),
}))
"""


def test_console_and_system_metrics_go_there_and_back_and_on_when_resumed(
    client: Client, kelt: Kelt
) -> None:
    client.run(RUN, **OUTPUT)
    samples = len(kelt.get("/runs/-/p/r1/history", stream="system")["rows"])
    client.run(RUN, HOW="must", **OUTPUT)
    found = client.answer(READ)
    assert found["lines"] == [
        [number, text, "error" if number % len(LINES) == 4 else "", True]
        for number, text in enumerate(LINES + LINES)
    ]
    assert found["last"] == LINES[-1:]
    assert [line for line in found["file"].splitlines() if line in LINES] == LINES
    assert len(found["system"]) > samples >= 2
    assert all(row["_timestamp"] and "_step" not in row for row in found["system"])
    assert any("system.memory_percent" in row for row in found["system"])
    assert found["latest"]["_timestamp"] == found["system"][-1]["_timestamp"]
    assert found["history"] == 2
    assert kelt.get("/info")["counters"]["wandb_lines_dropped"] == 0


@long_only
def test_an_offline_run_that_is_synced_twice_has_its_output_once(
    client: Client, kelt: Kelt
) -> None:
    client.run(RUN, WANDB_MODE="offline", **OUTPUT)
    client.sync(*client.offline_folders(), **OUTPUT)
    first = kelt.get("/runs/-/p/r1/console")["lines"]
    samples = kelt.get("/runs/-/p/r1/history", stream="system")["rows"]
    assert [line["text"] for line in first] == LINES
    assert samples
    again(client)
    client.sync(*client.offline_folders(), **OUTPUT)
    assert kelt.get("/runs/-/p/r1/console")["lines"] == first
    assert kelt.get("/runs/-/p/r1/history", stream="system")["rows"] == samples
    assert len(kelt.run("r1")["sessions"]) == 1
