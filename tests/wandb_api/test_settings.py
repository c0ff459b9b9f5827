from __future__ import annotations

from kelt.wandb_api.settings import Settings, kelt_resume, named_by_kelt, of_environment


def test_wandbs_settings_are_taken_as_kelts_and_its_machinery_is_passed_over():
    given = Settings(
        console="off", start_method="thread", init_timeout=120, run_name="n", x_label="rank_1",
        x_disable_stats=True, x_stats_sampling_interval=5,
    )  # fmt: skip
    assert named_by_kelt(given) == {
        "init_timeout_s": 120, "name": "n", "label": "rank_1", "console": "off",
        "disable_stats": True, "stats_sampling_interval_s": 5,
    }  # fmt: skip
    assert given.anything is None
    assert named_by_kelt({"mode": "offline", "_disable_stats": True}) == {"mode": "offline"}
    assert named_by_kelt(None) == {}


def test_wandbs_variables_hold_where_kelts_say_nothing():
    environ = {"WANDB_PROJECT": "w", "WANDB_NAME": "n", "KELT_NAME": "k", "WANDB_NOTES": ""}
    assert of_environment(environ) == {"project": "w"}
    environ = {"WANDB_CONSOLE": "off", "WANDB__DISABLE_STATS": "true", "KELT_CONSOLE": "wrap"}
    assert of_environment(environ) == {"disable_stats": "true"}
    assert of_environment({"WANDB_DISABLED": "true"}) == {"mode": "disabled"}


def test_resume_is_understood_in_all_its_spellings():
    assert [kelt_resume(said) for said in ("true", "1", "allow", True, "", "false")] == [
        "auto", "auto", "allow", True, None, None,
    ]  # fmt: skip
