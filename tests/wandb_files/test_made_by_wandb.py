"""Files that real versions of wandb made (made_by/README.md)."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

from harness.wandb_reading import items_of, of_kind, rows_of, translated
from kelt_proto.v1.frames import Kind

FOLDER = Path(__file__).parent / "made_by"
FILES = sorted(FOLDER.glob("*.wandb"))


def logged():
    spec = importlib.util.spec_from_file_location("make_file", FOLDER / "make_file.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for row in module.rows():
        nested = row.pop("nested")
        yield row | {"nested.a": nested["a"], "nested.b.c": nested["b"]["c"]}


def is_same(one, other):
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def file(request):
    return request.param


def test_every_row_is_what_was_logged(file):
    content, found = translated(file)
    rows = rows_of(found)
    wanted = list(logged())
    assert [step for step, _ in rows] == list(range(len(wanted)))
    for (_, values), row in zip(rows, wanted, strict=True):
        assert values.keys() == row.keys()
        for name, value in row.items():
            assert is_same(values[name], value), name
            assert (type(values[name]) is bool) == (type(value) is bool)
    assert content.rows == len(wanted)
    assert content.state == "finished"
    assert content.not_carried == ""


def test_what_was_written_to_the_console_is_there(file):
    _, found = translated(file)
    lines = {line.number: line for said in of_kind(found, Kind.CONSOLE) for line in said.lines}
    assert [(line.text, line.stream) for line in lines.values()] == [("a line on the console", 0)]
    assert lines[0].at > 1_700_000_000


def test_system_samples_have_the_names_and_times_that_wandb_sends(file):
    _, found = translated(file)
    samples = [sample for said in of_kind(found, Kind.SYSTEM) for sample in said.samples]
    assert all(item.key.startswith("system.") for s in samples for item in s.values)
    assert all(s.at > 1_700_000_000 and 0 <= s.runtime < 60 for s in samples)


def test_the_run_is_what_was_opened(file):
    content, found = translated(file)
    (opened,) = of_kind(found, Kind.RUN_OPENED)
    info = opened.info
    assert (opened.project, opened.run_id) == ("proj", "made")
    assert (info.name, info.notes, info.group, info.job_type) == (
        "Nice name", "a note", "g", "train",
    )  # fmt: skip
    assert list(info.tags.values) == ["a", "b"]
    assert opened.WhichOneof("origin") == ("resumed" if "resume" in file.stem else "created")
    version = file.stem.split("-")[1]
    # 0.16 does not write who it is.
    assert opened.sdk_version == ("wandb" if version.startswith("0.16") else f"wandb {version}")
    assert content.run.started_at == opened.started_at > 1.7e9


def test_config_summary_and_definitions_are_what_was_set(file):
    _, found = translated(file)
    config = {key: json.loads(text) for key, text in items_of(found, Kind.CONFIG).items()}
    assert config == {"lr": 0.2, "net": {"depth": 3, "widths": [1, 2]}, "late": {"x": 1}}
    assert items_of(found, Kind.SUMMARY) == {"by_hand": "42"}
    definitions = [
        (d.name, d.summary, d.step_metric) for d in of_kind(found, Kind.METRIC_DEFINITION)
    ]
    assert definitions == [("acc", "max", ""), ("val/*", "", "epoch")]
    (goodbye,) = of_kind(found, Kind.EXIT)
    assert goodbye.exit_code == 0
