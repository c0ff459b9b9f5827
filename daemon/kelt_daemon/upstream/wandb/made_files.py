"""Files that W&B's client makes of a run when it ends, and people look for: pure.

They tell again what the server was told. So they are sent once, when the run ends, and given up
after a few tries without being counted as lost. A file of that name that was recorded goes in their
place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from kelt_daemon.upstream.wandb.carried_run import CarriedFile, CarriedRun
from kelt_daemon.upstream.wandb.file_pieces import OUTPUT, REQUIREMENTS, Piece, key_of
from kelt_daemon.upstream.wandb.history_lines import encode
from kelt_daemon.upstream.wandb.run_config import config_of
from kelt_daemon.upstream.wandb.summaries import summary_of
from kelt_daemon.upstream.wandb.yaml_text import encode_yaml


def make_files(run: CarriedRun, output: str, requirements: str) -> Iterator[Piece]:
    """Puts them among the run's files, and yields what is to be put down.

    Args:
        run: that ends.
        output: what is on its console.
        requirements: the packages of its process.
    """
    texts = {
        "wandb-metadata.json": json.dumps(run.environment, indent=2, ensure_ascii=False),
        "wandb-summary.json": encode(summary_of(run)),
        "config.yaml": encode_yaml(config_of(run)),
        REQUIREMENTS: requirements,
        OUTPUT: output,
    }
    for name in [name for name in texts if texts[name] and name not in run.recorded_names]:
        content = texts[name].encode("utf-8", "backslashreplace")
        version = hashlib.sha256(content).digest()
        key = key_of(name, version)
        run.files[key] = CarriedFile(
            name=name,
            version=version.hex(),
            size_bytes=len(content),
            received_bytes=len(content),
            writer_id=run.writer_id.hex(),
            is_made=True,
        )
        yield Piece(key, 0, content)
