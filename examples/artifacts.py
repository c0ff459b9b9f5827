"""A training's checkpoint as a version of an artifact, and a second run that goes on from it."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import kelt

with TemporaryDirectory() as folder, kelt.init("digits", config={"lr": 0.1}) as run:
    checkpoint = Path(folder) / "weights.json"
    for epoch in range(3):
        run.log({"loss": 1 / (epoch + 1)})
        checkpoint.write_text(json.dumps({"epoch": epoch}))
        artifact = kelt.Artifact("weights", "model", metadata={"epoch": epoch})
        artifact.add_file(checkpoint)  # as it is now: the next epoch may overwrite it
        run.log_artifact(artifact, aliases=["best"])  # waits for no network
    artifact.wait(30)
    print(artifact.name, artifact.aliases)

with TemporaryDirectory() as folder, kelt.init("digits") as run:
    used = run.use_artifact("weights:best", type="model")
    print(used.name, json.loads(Path(used.download(folder), "weights.json").read_text()))
