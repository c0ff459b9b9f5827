"""What is measured: a module a section, each a `measuring.section.Section`.

`NAMES` is their order in `make bench` and in docs/performance.md.
"""

NAMES = (
    "log_call",
    "outage",
    "training",
    "end_to_end",
    "finish",
    "replay",
    "wandb_files",
    "trainer",
    "daemon",
    "ingest",
    "charts",
    "growth",
)
