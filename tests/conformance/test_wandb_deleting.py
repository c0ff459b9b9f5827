"""`run.delete()`, `file.delete()` and what comes after, by the real client."""

from __future__ import annotations

from pathlib import Path

from conformance.conftest import Client, Kelt

SCRIPT = """
from pathlib import Path
Path("kept.txt").write_text("old")
with wandb.init(id="gone", config={"old": 1}) as run:
    run.save("kept.txt", policy="now")
    for i in range(5):
        run.log({"x": i})
with wandb.init(id="child", fork_from="gone?_step=2") as child:
    child.log({"x": 100})

def look(run_id):
    run = wandb.Api().run("p/" + run_id)
    files = sorted(file.name for file in run.files() if file.name.endswith(".txt"))
    return [row["x"] for row in run.scan_history()], run.config, files

found = {"before": look("gone")}
for file in wandb.Api().run("p/gone").files(["kept.txt"]):
    file.delete()
found["without"] = look("gone")[2]
wandb.Api().run("p/gone").delete(delete_artifacts=True)
found["left"] = [run.id for run in wandb.Api().runs("p")]
with wandb.init(id="gone", resume="allow") as run:
    run.log({"x": 7})
found["again"], found["child"] = look("gone"), look("child")[0]

run = wandb.init(id="live")
run.log({"x": 1})
until(lambda: look("live")[0] == [1])
wandb.Api().run("p/live").delete()
run.log({"x": 2})
run.finish()
found["end"] = sorted(run.id for run in wandb.Api().runs("p"))
print(json.dumps(found))
"""
UNTIL = """
def until(is_so):
    for _ in range(300):
        try:
            if is_so():
                return
        except Exception:
            pass
        time.sleep(0.1)
    raise SystemExit("never")
"""


def test_a_deleted_run_is_gone_and_its_id_is_free(client: Client, kelt: Kelt) -> None:
    found = client.answer(UNTIL + SCRIPT)
    texts = ["kept.txt", "requirements.txt"]
    assert found["before"] == [[0, 1, 2, 3, 4], {"old": 1}, texts]
    assert found["without"] == ["requirements.txt"]
    assert found["left"] == ["child"]
    assert found["again"] == [[7], {}, ["requirements.txt"]]
    assert found["child"] == [0, 1, 2, 100]
    assert found["end"] == ["child", "gone"]
    (folder,) = (client.home / "wandb").glob("run-*-live")
    client.sync(Path("--no-skip-online"), folder)  # what the living client had left is on its host
    assert kelt.values("live", "x") == [(0, 1), (1, 2)]
