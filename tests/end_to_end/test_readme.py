"""The Python of the README, as it stands there."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_what_the_readme_shows_does_what_it_says(host, reader):
    quick_start, loss_spike, shared, sync = blocks()
    parts = [
        quick_start,
        'run = kelt.init("digits", id="baseline", resume="must")',
        loss_spike,
        'other.log({"loss": 0.5})\nother.finish()\nrun.finish()\nloss = 0.1',
        shared,
        "run.finish()",
        sync,
        "print(other.id, fork.id)",
    ]
    out, _ = host.run("\n".join(parts))
    other, fork = out.split()
    steps = {run: reader.steps(run, "digits") for run in ("baseline", fork, other, "job-7")}
    assert steps == {
        "baseline": [*range(121)],
        fork: [*range(301)],
        other: [*range(122)],
        "job-7": [0],
    }
    assert reader.run("baseline", "digits")["archived"]
    assert reader.run(fork, "digits")["config"] == {"lr": 0.01}
