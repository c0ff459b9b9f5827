"""Reading runs back: `kelt.Api`.

    with kelt.Api() as api:
        for run in api.runs("project", {"state": "finished"}):
            rows = list(run.scan_history())

It speaks the HTTP read API of a kelt server as JSON and needs neither pyarrow nor pandas. Values
come back with the types with which they were logged: 1 stays an integer and 1.0 a float, NaN and
the infinities stay floats, a logged None is None, and what was not logged is not there. Nothing is
fetched before it is wanted, and a sequence of runs keeps the pages that it has fetched. Bounds of
steps are inclusive: "up to N" means `_step <= N`.

What HTTP and httpx raise becomes our errors in `connection` and nowhere else.
"""

from kelt.api_client.api import Api
from kelt.api_client.artifacts import StoredArtifact
from kelt.api_client.errors import (
    ForbiddenError,
    KeyRefusedError,
    NotRunningError,
    QueryError,
    ServerFaultError,
    UnreachableError,
)
from kelt.api_client.files import File
from kelt.api_client.output import ConsoleLogLine
from kelt.api_client.records import Ancestor, Bucket, Loss, Project, Writer
from kelt.api_client.run import Run
from kelt.api_client.runs import Runs

__all__ = [
    "Ancestor",
    "Api",
    "Bucket",
    "ConsoleLogLine",
    "File",
    "ForbiddenError",
    "KeyRefusedError",
    "Loss",
    "NotRunningError",
    "Project",
    "QueryError",
    "Run",
    "Runs",
    "ServerFaultError",
    "StoredArtifact",
    "UnreachableError",
    "Writer",
]
