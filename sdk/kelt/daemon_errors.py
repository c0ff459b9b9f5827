"""What gRPC raises towards the daemon, as errors of this package: mapped here and nowhere else.

`DaemonUnavailableError` is what may pass by itself, `DaemonRefusedError` what the daemon means.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kelt.errors import DaemonError, DaemonRefusedError, DaemonUnavailableError

if TYPE_CHECKING:
    import grpc


@contextlib.contextmanager
def mapped_errors() -> Iterator[None]:
    """Turns what gRPC raises into the errors of this package.

    Raises:
        DaemonUnavailableError: no answer, or not in time.
        DaemonRefusedError: any other status; its message is the daemon's own sentence.
    """
    import grpc  # noqa: PLC0415 # not before a client is made

    try:
        yield
    except grpc.RpcError as error:
        raise _mapped(error) from error
    except ValueError as error:  # what gRPC raises on a closed channel
        raise DaemonUnavailableError(
            f"The connection to the daemon is closed ({error})."
        ) from error


def _mapped(error: grpc.RpcError) -> DaemonError:
    import grpc  # noqa: PLC0415 # as above

    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    details = (error.details() if isinstance(error, grpc.Call) else None) or str(error)
    passing = (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
    return DaemonUnavailableError(details) if code in passing else DaemonRefusedError(details)
