"""Addresses of W&B servers, their pages, and where their keys come from."""

from __future__ import annotations

import os

import pytest

from kelt.settings import load_settings
from kelt.wandb_upstream import web_url

HOSTED = "wandb+https://api.wandb.ai"


@pytest.mark.parametrize(
    ("upstream", "page"),
    [
        (HOSTED, "https://wandb.ai"),
        ("wandb+http://wandb.local:8080", "http://wandb.local:8080"),
        ("https://api.kelt.example", "https://api.kelt.example"),
    ],
)
def test_people_look_at_runs_elsewhere_than_at_the_api_of_w_and_b(upstream, page):
    assert web_url(upstream) == page


def key(tmp_path, argument=None, **environ) -> str | None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.wandb.ai login user password of-netrc\ndefault password all\n")
    netrc.chmod(0o600)
    environ = {"KELT_CONFIG": os.devnull, "KELT_UPSTREAM": HOSTED, "NETRC": str(netrc)} | environ
    return load_settings({"api_key": argument}, environ).api_key


def test_the_key_is_what_was_given_then_w_and_bs_then_kelts_then_the_netrc_files(tmp_path):
    both = {"WANDB_API_KEY": "w", "KELT_API_KEY": "k"}
    assert key(tmp_path, "argument", **both) == "argument"
    assert key(tmp_path, **both) == "w"
    assert key(tmp_path, KELT_API_KEY="k") == "k"
    assert key(tmp_path) == "of-netrc"


def test_no_other_host_is_told_a_key_of_w_and_bs(tmp_path):
    assert key(tmp_path, KELT_UPSTREAM="wandb+https://wandb.example") is None
    assert key(tmp_path, KELT_UPSTREAM="http://kelt.example", WANDB_API_KEY="w") is None
