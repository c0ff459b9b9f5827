"""Artifacts: files, folders, references; versions, aliases, and using what another run logged."""

from pathlib import Path

import wandb

folder = Path("artifacts-scenario")
(folder / "sub").mkdir(parents=True, exist_ok=True)
(folder / "a.txt").write_text("a")
(folder / "sub" / "b.txt").write_text("b" * 1000)

with wandb.init(project="artifacts", id="logs") as run:
    first = wandb.Artifact("data", type="dataset", description="why", metadata={"k": [1, 2]})
    first.add_dir(str(folder))
    first.add_file(str(folder / "a.txt"), name="again/a.txt")
    first.add_reference(folder.resolve().joinpath("a.txt").as_uri(), name="elsewhere.txt")
    with first.new_file("made.txt") as made:
        made.write("made")
    run.log_artifact(first, aliases=["best"]).wait()
    (folder / "a.txt").write_text("another")
    run.log_artifact(str(folder), name="data", type="dataset", tags=["second"]).wait()
    (folder / "a.txt").write_text("a")
    same = wandb.Artifact("data", type="dataset")
    same.add_dir(str(folder))
    same.remove("sub")
    run.log_artifact(same, aliases=["third", "best"]).wait()
    run.log({"names": [first.name, same.name], "files": same.size, "digest": first.digest})
    run.log_model(str(folder / "a.txt"), name="model", aliases=["one"])

with wandb.init(project="artifacts", id="uses") as run:
    used = run.use_artifact("data:v0", type="dataset")
    root = Path(used.download(root="artifacts-scenario-whole"))
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.txt"))
    entry = used.get_entry("again/a.txt")
    run.log({"kept": [name for name in files if name != "elsewhere.txt"], "size": entry.size})
    run.log({"about": [used.version, used.type, used.description], "k": used.metadata["k"]})
    newest = run.use_artifact("data:latest")
    run.log({"newest": [newest.version, sorted(newest.aliases)]})
    run.log({"model": Path(run.use_model("model:one")).read_text()})
    for name, type_name in (("data:v0", "model"), ("data:v7", None), ("nothing:latest", None)):
        try:
            run.use_artifact(name, type=type_name)
        except wandb.Error:
            run.log({"refused": name})
