"""W&B's records into kelt's, from files written in plain Python."""

import io
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.wandb_reading import items_of, of_kind, rows_of, translated
from harness.wandb_writer import WandbWriter
from kelt.wandb_files.reading import WandbFileError, read_wandb_file
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import FLAG_RELATIVE_STEP, FLAG_STEP_WENT_DOWN

DOUBLES = st.floats(allow_nan=True, allow_infinity=True)


@pytest.fixture
def file(tmp_path):
    return WrittenFile(tmp_path / "run-r1.wandb")


class WrittenFile(WandbWriter):
    def __init__(self, path):
        self.path = path
        self.memory = io.BytesIO()
        super().__init__(self.memory)

    def translated(self, raw=None):
        self.path.write_bytes(self.memory.getvalue() if raw is None else raw)
        return translated(self.path)


def item(value_json, *path, **typed):
    return {"nested_key": path, "value_json": value_json, **typed}


def test_values_of_every_kind_come_back(file):
    file.begin()
    values = {"a.float": "0.1", "int": "3", "big": "1" + "0" * 30, "nan": "NaN", "inf": "Infinity"}
    values |= {"low": "-Infinity", "yes": "true", "none": "null", "text": '"\\u00e9\\ud800"'}
    values |= {"list": "[1, NaN]", "e": "1.795e+09", "minus": "-7", "not json": "{oops"}
    media = {"_type": "image-file", "path": "x.png"}
    items = [item(text, name) for name, text in values.items()]
    items += [item("5", "n", "est", "ed"), {"key": "old", "value_json": '{"a": {"b": 1}, "c": {}}'}]
    items += [item(json.dumps(media), "picture"), item("4", "_step")]
    items += [item(json.dumps(text), "apart", key) for key, text in media.items()]
    file.add(history={"item": items})
    content, found = file.translated()
    ((step, row),) = rows_of(found)
    assert step == 4
    assert math.isnan(row.pop("nan"))
    listed = row.pop("list")
    assert listed[0] == 1
    assert math.isnan(listed[1])
    assert row == {
        "a.float": 0.1, "int": 3, "big": 10**30, "inf": math.inf, "low": -math.inf, "yes": True,
        "none": None, "text": "\u00e9\ud800", "e": 1.795e9, "minus": -7, "not json": "{oops",
        "n.est.ed": 5, "old.a.b": 1, "old.c": {}, "picture": media, "apart": media,
    }  # fmt: skip
    assert "2 media files" in content.not_carried


def test_typed_values_come_back(file):
    file.begin()
    typed = {
        "none": {"none": 0}, "yes": {"boolean": False}, "int": {"integer": -5},
        "number": {"number": 2.0}, "nan": {"number": math.nan}, "text": {"text": "NaN"},
        "json": {"json": '{"a": [1]}'},
    }  # fmt: skip
    items = [{"nested_key": [name], **value} for name, value in typed.items()]
    items.append({"nested_key": ["untyped"], "value_json": "[1]"})
    file.add(history={"item": items, "step": {"num": 9}})
    ((step, row),) = rows_of(file.translated()[1])
    assert step == 9
    assert math.isnan(row.pop("nan"))
    assert row == {
        "none": None, "yes": False, "int": -5, "number": 2.0, "text": "NaN", "json.a": [1],
        "untyped": [1],
    }  # fmt: skip


@given(st.lists(st.dictionaries(st.sampled_from("abcdef"), DOUBLES | st.integers(), max_size=6)))
def test_numbers_come_back_whatever_their_order_and_kind(tmp_path_factory, rows):
    file = WrittenFile(tmp_path_factory.mktemp("w") / "run-r1.wandb")
    file.begin()
    for step, row in enumerate(rows):
        file.row(step, row)
    found = rows_of(file.translated()[1])
    assert [step for step, _ in found] == list(range(len(rows)))
    for (_, values), row in zip(found, rows, strict=True):
        assert values.keys() == row.keys()
        for name, value in row.items():
            assert values[name] == value or (math.isnan(value) and math.isnan(values[name]))


def test_the_rows_own_keys_are_its_head(file):
    file.begin()
    file.row(7, {"x": 1}, at=1234.5)
    (row,) = of_kind(file.translated()[1], Kind.ROW)
    assert (row.header.step, row.header.timestamp, row.header.runtime) == (7, 1234.5, 7.0)
    assert row.values == {"x": 1}


def test_metrics_that_are_sometimes_whole_make_few_schemas(file):
    file.begin()
    names = [f"m{i}" for i in range(12)]
    for step in range(3000):
        file.row(
            step,
            {n: (step + i) / 4 for i, n in enumerate(names)} if step else dict.fromkeys(names, 1),
        )
    _, found = file.translated()
    assert len({row.header.schema_id for row in of_kind(found, Kind.ROW)}) < 30


def test_more_kinds_of_rows_than_a_writer_may_intern_carry_their_own_schema(file):
    file.begin()
    wanted = [(step, {f"metric {step}": step}) for step in range(300)]
    for step, row in wanted:
        file.row(step, row)
    assert rows_of(file.translated()[1]) == wanted


def test_a_name_once_nested_and_once_with_a_dot_keeps_both(file):
    file.begin()
    file.add(history={"item": [item("1", "a", "b"), item("2", "a.b")], "step": {"num": 0}})
    assert rows_of(file.translated()[1]) == [(0, {"a.b": 1, "a.b'": 2})]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([item("-1", "_step")], "the step -1"),
        ([item('"x"', "_step")], "the step 'x'"),
        ([item("1", "n" * 2000)], "the name"),
        ([item("1")], "no name"),
        ([item(json.dumps("x" * 9_000_000), "t")], "bytes, more than"),
    ],
)
def test_a_row_that_kelt_cannot_hold_is_a_loss_in_its_place(file, items, said):
    file.begin()
    file.add(history={"item": items})
    file.row(5, {"x": 1})
    content, found = file.translated()
    (loss,) = of_kind(found, Kind.LOSS)
    assert said in loss.reason
    assert (loss.first_seq, loss.last_seq, loss.rows, content.lost_rows) == (3, 3, 1, 1)
    assert rows_of(found) == [(5, {"x": 1})]


def test_steps_that_go_down_are_flagged(file):
    file.begin()
    for step in (1, 5, 3):
        file.row(step, {})
    flags = [row.header.flags for row in of_kind(file.translated()[1], Kind.ROW)]
    assert flags == [0, 0, FLAG_STEP_WENT_DOWN]


@pytest.mark.parametrize(
    ("facts", "first", "origin", "flags"),
    [
        ({}, 0, "created", 0),
        ({"resume": True}, 0, "resumed", FLAG_RELATIVE_STEP),
        ({"resume": True}, 40, "resumed", 0),
        ({"starting_step": 40}, 40, "resumed", 0),
        ({"branch_point": {"run": "r0", "value": 7, "metric": "_step"}}, 8, "forked", 0),
        ({"branch_point": {"run": "r1", "value": 7, "metric": "_step"}}, 8, "rewound", 0),
    ],
)
def test_where_a_run_comes_from(file, facts, first, origin, flags):
    file.begin(**facts)
    file.row(first, {"x": 1})
    file.row(first + 1, {"x": 1})
    _, found = file.translated()
    (opened,) = of_kind(found, Kind.RUN_OPENED)
    assert opened.WhichOneof("origin") == origin
    assert [row.header.flags for row in of_kind(found, Kind.ROW)] == [flags, flags]
    if "branch_point" in facts:
        point = getattr(opened, origin)
        assert (point.project, point.run_id, point.step) == ("p", facts["branch_point"]["run"], 7)
        assert not point.branch_id


def test_nested_config_changes_become_whole_values_and_wandbs_own_are_dropped(file):
    file.begin(config={"_wandb": {"x": 1}, "net": {"depth": 3, "w": 1}, "gone": 1})
    file.add(config={"update": [item("9", "net", "depth"), item("5", "new", "a", "b")]})
    file.add(config={"remove": [{"nested_key": ["net", "w"]}, {"key": "gone"}]})
    file.add(config={"update": [item("1", "_wandb", "t")]})
    config = items_of(file.translated()[1], Kind.CONFIG)
    assert {key: json.loads(text) for key, text in config.items()} == {
        "net": {"depth": 9}, "new": {"a": {"b": 5}},
    }  # fmt: skip


def test_of_the_summary_only_what_was_set_by_hand_is_carried_until_a_row_overwrites_it(file):
    file.begin()
    file.add(summary={"update": [item("1", "loss"), item('{"max":1}', "acc")]})
    file.row(0, {"loss": 1, "acc": 1})
    file.add(summary={"update": [{"key": "best", "value_json": "7"}]})
    file.add(summary={"update": [{"key": "loss", "value_json": "99"}]})
    _, found = file.translated()
    assert items_of(found, Kind.SUMMARY) == {"best": "7", "loss": "99"}
    file.add(summary={"update": [item("0.5", "loss")]})
    file.row(1, {"loss": 0.5})
    file.add(summary={"remove": [{"key": "best"}]})
    file.end()
    _, found = file.translated()
    assert items_of(found, Kind.SUMMARY) == {}


def test_definitions_keep_axis_summary_goal_and_hiding(file):
    file.begin()
    file.add(metric={"name": "a\\.b", "step_metric": "epoch", "summary": {"min": True}})
    file.add(metric={"glob_name": "v/*", "summary": {"best": True, "max": True}, "goal": 2})
    file.add(
        metric={"name": "h", "summary": {"none": True, "min": True}, "options": {"hidden": True}}
    )
    file.add(metric={"name": "v/x", "expanded_from_glob": True})
    content, found = file.translated()
    said = [
        (d.name, d.step_metric, d.summary, d.goal, d.hidden)
        for d in of_kind(found, Kind.METRIC_DEFINITION)
    ]
    assert said == [
        ("a.b", "epoch", "min", "", False),
        ("v/*", "", "max,best", "maximize", False),
        ("h", "", "none", "", True),
    ]
    assert not content.not_carried


def test_a_record_is_one_record_whatever_it_is(file):
    file.begin()
    file.add(output_raw={"line": ""})
    file.add(stats={})
    file.add(files=b"")
    file.add(output_raw={"line": "a\nb", "output_type": 1, "timestamp": {"seconds": 9}})
    file.add(stats={"timestamp": {"seconds": 9}, "item": [{"key": "cpu", "value_json": "1.0"}]})
    file.add(alert=b"")
    file.row(0, {"x": 1})
    file.add(run={"run_id": "r1", "display_name": "later", "config": {"update": [item("1", "c")]}})
    file.add(telemetry=b"")
    file.end(3)
    content, found = file.translated()
    kinds = [kind for kind, _ in found]
    nothing = Kind.CONFIG
    assert kinds == [
        Kind.RUN_OPENED, Kind.CONFIG, nothing, nothing, nothing, Kind.CONSOLE, Kind.SYSTEM,
        nothing, Kind.ROW, Kind.RUN_INFO, Kind.CONFIG, Kind.EXIT,
    ]  # fmt: skip
    (said,) = of_kind(found, Kind.CONSOLE)
    assert [(line.number, line.text, line.at) for line in said.lines] == [
        (0, "a", 9.0), (1, "b", 9.0),
    ]  # fmt: skip
    (samples,) = of_kind(found, Kind.SYSTEM)
    assert [(item.key, item.json) for item in samples.samples[0].values] == [("system.cpu", "1.0")]
    assert items_of(found, Kind.CONFIG) == {"c": "1"}
    assert content.state == "failed"
    assert content.not_carried == "not carried over: 1 alert"


TEXTS = st.text(max_size=5) | st.sampled_from(["_step", "_wandb", "a.b", "_type", "n" * 2000])
JSON = (
    st.recursive(
        st.none() | st.booleans() | st.integers() | DOUBLES | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=8,
    ).map(json.dumps)
    | st.text(max_size=8)
    | st.sampled_from(
        ["[" * 900 + "]" * 900, "[" * 5000, '{"\\ud800": 1}', "1" * 5000, "-0", "1e999"]
    )
)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"key": TEXTS, "nested_key": st.lists(TEXTS, max_size=3), "value_json": JSON}
    ),
    max_size=4,
)
ENTRIES = st.one_of(
    ITEMS.map(lambda items: {"history": {"item": items}}),
    ITEMS.map(lambda items: {"summary": {"update": items}}),
    ITEMS.map(lambda items: {"summary": {"remove": items}}),
    ITEMS.map(lambda items: {"config": {"update": items}}),
    ITEMS.map(lambda items: {"config": {"remove": items}}),
    TEXTS.map(lambda name: {"metric": {"name": name, "step_metric": name}}),
    st.builds(
        lambda kind, text, at: {
            kind: {"line": text, "output_type": at % 3, "timestamp": {"nanos": at}}
        },
        st.sampled_from(["output", "output_raw"]),
        st.text(max_size=9),
        st.integers(-9, 9),
    ),
    st.builds(
        lambda name, text, at: {
            "stats": {"timestamp": {"seconds": at}, "item": [{"key": name, "value_json": text}]}
        },
        TEXTS,
        st.text(max_size=9) | JSON,
        st.integers(-(2**63), 2**63 - 1),
    ),
    st.integers(-5, 5).map(lambda code: {"exit": {"exit_code": code}}),
)


@settings(deadline=None)
@given(st.lists(ENTRIES, max_size=6), DOUBLES, st.integers(-(2**62), 2**62))
def test_whatever_records_say_there_is_one_of_kelts_for_each_and_no_error(
    tmp_path_factory, entries, point, seconds
):
    file = WrittenFile(tmp_path_factory.mktemp("w") / "run-r1.wandb")
    file.begin(branch_point={"run": "r0", "value": point}, start_time={"seconds": seconds})
    for entry in entries:
        file.add(**entry)
    file.row(5, {"x": 1})
    content, found = file.translated()
    assert content.records == len(found) == len(entries) + 3
    assert rows_of(found)[-1] == (5, {"x": 1})


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_records_that_are_no_messages_are_losses(tmp_path_factory, payloads):
    file = WrittenFile(tmp_path_factory.mktemp("w") / "run-r1.wandb")
    file.begin()
    for payload in payloads:
        file.log.add(payload)
    content, _ = file.translated()
    assert content.records == len(payloads) + 2


def test_damage_costs_its_records_and_the_numbers_after_it_stay_what_they_were(file):
    file.begin()
    places = [file.row(step, {"x": step}) for step in range(3000)]
    file.end()
    _, whole = file.translated()
    harmed = bytearray(file.memory.getvalue())
    for number in (1000, 1001, 1002):
        harmed[places[number][0] + 12] ^= 0xFF
    content, found = file.translated(bytes(harmed))
    (loss,) = of_kind(found, Kind.LOSS)
    assert (loss.first_seq, loss.last_seq, loss.rows) == (1003, 1005, 3)
    assert (content.lost_rows, content.rows) == (3, 2997)
    assert len(found) == len(whole)
    assert [at for at, (a, b) in enumerate(zip(found, whole, strict=True), 1) if a != b] == [
        1003, 1004, 1005,
    ]  # fmt: skip


def test_a_torn_tail_costs_nothing_before_it_and_is_no_loss(file):
    file.begin()
    for step in range(200):
        _, end = file.row(step, {"x": step})
    raw = file.memory.getvalue()
    content, found = file.translated(raw[: end - 3])
    assert rows_of(found) == [(step, {"x": step}) for step in range(199)]
    assert content.lost_rows == 0
    assert not content.is_tail_damaged
    assert content.state == "crashed"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "it is empty"),
        (b"not a file of theirs", "does not begin as a .wandb file"),
        (b":W&B\xe1\xbe\x00", "nothing but its header"),
        (b":W&B\xe1\xbe\x01", "version 1"),
    ],
)
def test_what_cannot_be_taken_over_is_named_with_reason_and_remedy(tmp_path, raw, said):
    path = tmp_path / "run-x.wandb"
    path.write_bytes(raw)
    with pytest.raises(WandbFileError, match=said) as caught:
        read_wandb_file(path)
    assert str(path) in str(caught.value)
