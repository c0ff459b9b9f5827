"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")]
UpstreamOption = Annotated[
    str | None,
    typer.Option("--upstream", metavar="URL", help="The server, instead of KELT_UPSTREAM's."),
]
