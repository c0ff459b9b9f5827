"""What a user installs works: the wheel on the oldest Python, an editable install on this one.

Both go into clean environments with the pinned versions, and run a training against a real server.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import uv

from harness.amounts import amount, long_only

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "tests" / "sdk"
#: Those start many processes and have nothing to do with a Python's version.
WITH_DAEMONS = ("background", "launcher", "sender")
SDK_TESTS = [SDK] if amount(0, long=1) else [SDK / "test_runs.py", SDK / "test_settings.py"]

TRAINING = """
import kelt
with kelt.init("p", id="installed", config={"lr": 0.1}) as run:
    for i in range(100):
        run.log({"i": i, "loss": 1 / (i + 1)})
with kelt.init("p", id="child", fork_from="installed?_step=9") as run:
    run.log({"i": -1})
print([row["i"] for row in kelt.Api().run("p/child").scan_history()])
"""


def floor_python():
    """The oldest Python that kelt supports, where this machine has one that runs."""
    candidates = [os.environ.get("KELT_FLOOR_PYTHON"), sys.executable, shutil.which("python3.10")]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout
        candidates += map(str, Path(root.strip()).glob("versions/3.10.*/bin/python"))
    for candidate in filter(None, candidates):
        ask = [candidate, "-c", "import sys; print(*sys.version_info[:2])"]
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.split() == ["3", "10"]:
            return candidate
    return None


def make_environment(folder, python, *what):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    binaries = folder / "bin"
    for command in (
        ("venv", "--python", python, folder),
        ("pip", "install", "--python", binaries / "python", "-c", ROOT / "constraints.txt", *what),
    ):
        subprocess.run(
            [uv.find_uv_bin(), "--quiet", *map(str, command)],
            check=True, env=environment, cwd=folder.parent, timeout=600,
        )  # fmt: skip
    return binaries


def train_and_read_back(binaries, folder):
    """Starts the installed server by the installed command, trains, and reads back."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("KELT_", "PYTHON"))}
    ready = folder / "ready.json"
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(binaries / "kelt", "server", "--dir", folder / "server", "--ready-file", ready),
                *("--port", "0", "--grpc-port", "0"),
            ],
            env=environment, cwd=folder, stderr=log, stdout=log,
        )  # fmt: skip
    try:
        from harness.stack import eventually

        facts = eventually(lambda: json.loads(ready.read_text()) if ready.exists() else None)
        environment |= {
            "KELT_DIR": str(folder / "state"), "KELT_UPSTREAM": facts["url"], "KELT_CONFIG": os.devnull,
        }  # fmt: skip
        done = subprocess.run(
            [binaries / "python", "-c", TRAINING],
            env=environment, cwd=folder, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str([*range(10), -1])
        listed = subprocess.run(
            [binaries / "kelt", "runs", "ls", "p", "--json"],
            env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert listed.returncode == 0, listed.stderr
        assert "installed" in listed.stdout
        subprocess.run(
            [binaries / "kelt", "daemon", "stop"],
            env=environment,
            cwd=folder,
            check=True,
            timeout=60,
        )
    finally:
        server.terminate()
        assert server.wait(60) == 0


@pytest.mark.timeout(900)
def test_the_wheel_works_in_a_clean_environment_of_the_oldest_python(tmp_path):
    python = floor_python()
    if python is None:
        pytest.skip("no Python 3.10 on this machine (set KELT_FLOOR_PYTHON)")
    wheels = tmp_path / "wheels"
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(wheels), str(ROOT)],
        check=True, timeout=300,
    )  # fmt: skip
    (wheel,) = wheels.glob("kelt-*.whl")
    binaries = make_environment(
        tmp_path / "venv", python, f"kelt[server] @ {wheel.as_uri()}",
        "pytest", "pytest-timeout", "pytest-asyncio", "hypothesis", "trio",
    )  # fmt: skip
    train_and_read_back(binaries, tmp_path)
    # The unit tests of the formats and of the SDK, on the installed wheel; a real daemon was above.
    done = subprocess.run(
        [binaries / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider",
         *(ROOT / "tests" / room for room in ("proto", "journal")), *SDK_TESTS,
         *(f"--ignore={ROOT}/tests/sdk/test_{name}.py" for name in WITH_DAEMONS)],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]


@long_only
@pytest.mark.timeout(900)
def test_an_editable_install_works_in_a_clean_environment(tmp_path):
    binaries = make_environment(tmp_path / "venv", sys.executable, "-e", f"{ROOT}[server]")
    train_and_read_back(binaries, tmp_path)


def test_the_source_folders_shadow_no_package_of_others():
    """`daemon`, `proto`, `sdk` and `server` are source roots: importing them finds nothing of ours."""
    code = "import importlib.util as u; print([n for n in ('daemon','proto','sdk','server') if (s:=u.find_spec(n)) and s.origin])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    for root in ("daemon", "proto", "sdk", "server"):
        stray = [p.name for p in (ROOT / root).glob("*.py")]
        assert stray == []


def test_importing_kelt_loads_the_standard_library_alone():
    code = "import sys, kelt; print(sorted({m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)))"
    environment = {k: v for k, v in os.environ.items() if k != "COVERAGE_PROCESS_START"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    foreign = {name for name in eval(done.stdout) if not name.startswith(("_", "kelt"))}
    assert not foreign & {"grpc", "google", "numpy", "httpx", "rich", "anyio", "typer", "orjson"}
