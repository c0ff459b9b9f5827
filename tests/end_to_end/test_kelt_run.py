"""`kelt run`, and `import kelt.as_wandb`: whoever asks for wandb gets kelt, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kelt.local_history import read_records
from kelt.wandb_api.placing import FOLDER
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import decode_row

SCRIPT = """
    import importlib.metadata, importlib.util, json, multiprocessing, subprocess, sys
    import wandb
    from wandb import AlertLevel, Artifact, Image
    from wandb.sdk.lib.config_util import ConfigError
    from wandb.sdk.launch.somewhere.deep import anything

    def child(answers):
        import wandb
        answers.put(wandb.__file__)

    if __name__ == "__main__":
        context = multiprocessing.get_context("spawn")
        answers = context.SimpleQueue()
        process = context.Process(target=child, args=(answers,))
        process.start()
        started = subprocess.run(
            [sys.executable, "-c", "import wandb; print(wandb.__file__, end='')"],
            capture_output=True, text=True,
        )
        files = [wandb.__file__, importlib.util.find_spec("wandb").origin, answers.get(), started.stdout]
        process.join()
        with wandb.init(project="p", id="r", config={"args": sys.argv[1:]}) as run:
            assert wandb.run is run and isinstance(run, wandb.Run)
            for i in range(3):
                wandb.log({"i": i, "picture": wandb.Image(None), "pictures": [wandb.Image(None)]})
            wandb.log({"picture": wandb.Image(None)})
            artifact = Artifact("a", type="model")
            for use in (lambda: artifact.link("t"), lambda: run.link_model("f", "m"), anything):
                try:
                    use()
                except wandb.Error as error:
                    print(error, file=sys.stderr)
        version = importlib.metadata.version("wandb")
        print(json.dumps([files, version, sys.argv]))
        sys.exit(7)
"""


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("KELT_", "WANDB_"))}
    environment = {
        **keep, "KELT_DIR": str(folder / "state"), "KELT_MODE": "offline", **environment,
    }  # fmt: skip
    return subprocess.run(
        command,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(textwrap.dedent(SCRIPT))
    (tmp_path / "wandb").mkdir()  # as wandb leaves it beside scripts: no package
    return path


def test_a_script_and_the_processes_it_starts_get_kelt_for_wandb(script, tmp_path):
    kelt = [sys.executable, "-m", "kelt.cli"]
    done = run([*kelt, "run", "train.py", "--lr", "1"], tmp_path, PYTHONPATH="/nowhere")
    assert done.returncode == 7, done.stderr
    init = str(FOLDER / "wandb" / "__init__.py")
    assert done.stdout.strip() == (
        f'[["{init}", "{init}", "{init}", "{init}"], "0.31.0", ["{script.name}", "--lr", "1"]]'
    )
    assert done.stderr.count("wandb.Image is not carried by kelt and is left out") == 1
    for name in ("Artifact.link", "Run.link_model", "sdk.launch.somewhere.deep.anything"):
        assert f"kelt: wandb.{name} is not part of kelt; " in done.stderr
    [folder] = (tmp_path / "state" / "runs").iterdir()
    records = [record for record in read_records(folder) if record.kind == Kind.ROW]
    rows = [decode_row(record.payload, record.schemas) for record in records]
    assert [row.values for row in rows] == [{"i": 0}, {"i": 1}, {"i": 2}, {}]


def test_a_script_that_imports_it_first_needs_no_other_command(tmp_path):
    code = "import kelt.as_wandb, os, wandb, sys; print(wandb.__file__, os.environ['PYTHONPATH'])"
    done = run([sys.executable, "-c", code], tmp_path)
    assert done.stdout.split() == [str(FOLDER / "wandb" / "__init__.py"), str(FOLDER)]
    late = run([sys.executable, "-c", "import wandb, kelt.as_wandb"], tmp_path)
    assert "wandb itself is imported already" in late.stderr


def test_where_kelt_is_not_installed_the_import_says_so(tmp_path):
    code = "import sys; sys.modules['kelt'] = None; import wandb"
    done = run([sys.executable, "-c", code], tmp_path, PYTHONPATH=str(FOLDER))
    assert "ImportError: kelt answers `import wandb` here, and is not installed in" in done.stderr
