"""Fuzzes each target for a while: python tests/fuzz/run.py --seconds 60 [--target NAME]

Needs the extra `torture` (atheris). A crashing input is left in tests/fuzz/found/; once understood it
becomes a file NAME-… in tests/fuzz/corpus/, which every run of the tests reads.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
INPUT_BYTES_MAX = 65_536


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    if chosen.one:
        fuzz(chosen.one, chosen.seconds)
        return 0
    from fuzz.seeds import sound
    from fuzz.targets import TARGETS

    failed = []
    for name in chosen.target or TARGETS:
        with tempfile.TemporaryDirectory() as corpus:
            for number, data in enumerate(sound()[name]):
                (Path(corpus) / f"sound-{number}").write_bytes(data)
            for path in (HERE / "corpus").glob(f"{name}-*"):
                (Path(corpus) / path.name).write_bytes(path.read_bytes())
            (HERE / "found").mkdir(exist_ok=True)
            command = [
                sys.executable, __file__, "--one", name, "--seconds", str(chosen.seconds), corpus,
            ]  # fmt: skip
            if subprocess.run(command, check=False).returncode:
                failed.append(name)
    sys.stdout.write(f"targets that failed: {', '.join(failed) or 'none'}\n")
    return 1 if failed else 0


def fuzz(name: str, seconds: int) -> None:
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed: pip install 'kelt[torture]'")

    with atheris.instrument_imports(include=["kelt", "kelt_daemon", "kelt_server", "kelt_proto"]):
        from fuzz.targets import TARGETS
    arguments = [
        sys.argv[0], f"-max_total_time={seconds}", f"-max_len={INPUT_BYTES_MAX}",
        f"-artifact_prefix={HERE}/found/{name}-", "-rss_limit_mb=1024", "-timeout=20",
        "-print_final_stats=1", "-verbosity=0",
    ]  # fmt: skip
    atheris.Setup([*arguments, *CORPORA], TARGETS[name])
    atheris.Fuzz()


CORPORA: list[str] = []


if __name__ == "__main__":
    CORPORA = [argument for argument in sys.argv[1:] if Path(argument).is_dir()]
    sys.argv = [argument for argument in sys.argv if argument not in CORPORA]
    sys.exit(main())
