"""What `kelt doctor` says of a W&B server, its key, and what is none."""

from __future__ import annotations

import os

import pytest

from harness.wandb_stub import KEY, WandbStub
from kelt.cli.doctor_peers import check_upstream
from kelt.settings import load_settings


def checked(url: str, key: str) -> list[tuple[str, str]]:
    environ = {"KELT_CONFIG": os.devnull, "KELT_UPSTREAM": f"wandb+{url}", "WANDB_API_KEY": key}
    return [(check.level, check.text) for check in check_upstream(load_settings({}, environ))]


def test_a_server_and_a_key_that_it_knows():
    with WandbStub() as stub:
        levels, texts = zip(*checked(stub.url, KEY), strict=True)
    assert levels == ("ok", "ok")
    assert "someone" in texts[1]


def test_a_key_that_it_does_not_know():
    with WandbStub() as stub:
        (level, _), (key_level, text) = checked(stub.url, "x" * 40)
    assert (level, key_level) == ("ok", "fail")
    assert "WANDB_API_KEY" in text


@pytest.mark.parametrize("fault", [404, 500, "cut"])
def test_what_is_no_server_of_w_and_bs_or_nobody(fault):
    with WandbStub(fault=lambda _: fault) as stub:
        ((level, text),) = checked(stub.url, KEY)
    assert level == "fail"
    assert "KELT_UPSTREAM" in text
