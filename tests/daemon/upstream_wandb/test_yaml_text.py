"""A run's config as YAML: what W&B's client writes, and any reader takes for the same values."""

from __future__ import annotations

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.amounts import amount
from kelt_daemon.upstream.wandb.yaml_text import encode_yaml

#: As wandb 0.31.0 wrote it, but for two numbers: `1e-09` and `1e+21` are texts to YAML 1.1.
RECORDED = """\
_wandb:
    value:
        cli_version: 0.31.0
        m:
            - "1": loss
              "6":
                - 3
              "7":
                - 1
        t:
            "3":
                - 2
                - 16
            "4": 3.11.7
            "12": 0.31.0
            "13": linux-x86_64
b:
    value: true
date:
    value: "2020-01-01"
e21:
    value: 1.0e+21
empty:
    value: ""
f:
    value: 1.0e-09
float1:
    value: 1
inf:
    value: .inf
l:
    value: []
lod:
    value:
        - a: 1
          b:
            - 2
lr:
    value: 0.1
"n":
    value:
        a:
            - 1
            - 2
none:
    value: null
num:
    value: "12"
program:
    value: /a/b.py
t:
    value: "true"
"""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.sampled_from(["1e5", "0x1F", "1_000", "NO", "~", "12:30", "- a", "2020-1-1", ".5", "a: b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def test_it_is_written_as_wandbs_client_writes_it():
    assert encode_yaml(yaml.safe_load(RECORDED)) == RECORDED


@given(values=st.dictionaries(st.text(), VALUES, max_size=4))
@settings(max_examples=amount(25, long=5000), deadline=None)
def test_it_is_read_as_what_it_was(values):
    assert yaml.safe_load(encode_yaml(values)) == values


def test_what_is_no_number_is_kept():
    assert yaml.safe_load(encode_yaml({"a": float("nan")}))["a"] != 0
    assert encode_yaml({"a": float("nan"), "b": -float("inf")}) == "a: .nan\nb: -.inf\n"
