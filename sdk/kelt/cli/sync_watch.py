"""When a sync is over, and how it ended. Pure: reports and times in, a verdict out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kelt.cli.exit_codes import CliError, ExitCode
from kelt.cli.wording import count

#: A daemon that says nothing at all for so long is not waited for.
SILENCE_S_MAX = 30.0


def upstream_sentence(upstream: dict[str, Any]) -> str:
    """What keeps an upstream from taking records, with its address, which is said once."""
    reason = str(upstream["reason"]) or f"it is {upstream['state']}"
    sentence = reason if upstream["url"] in reason else f"{upstream['url']}: {reason}"
    return sentence if sentence.endswith(".") else f"{sentence}."


class SyncWatch:
    """What the daemon has reported of a sync so far.

    Args:
        wait_s: how long an upstream may stay out of reach without any progress.
        now: the time, in seconds of any clock that does not go back.
    """

    def __init__(self, *, wait_s: float, now: float) -> None:
        self.folders: list[dict[str, Any]] = []
        self._wait_s = wait_s
        self._is_done = False
        self._upstream: dict[str, Any] = {"state": "", "reason": "", "url": ""}
        self._committed = -1
        self._progress_at = now
        self._heard_at = now
        self._gave_up_on = ""

    def take(
        self,
        *,
        folders: Sequence[dict[str, Any]],
        upstream: dict[str, Any],
        is_done: bool,
        now: float,
    ) -> None:
        """One report of the daemon."""
        self.folders = list(folders)
        self._upstream = upstream
        self._is_done = is_done
        self._heard_at = now
        committed = sum(folder["committed"] for folder in folders)
        # A refusal can be an old one: the daemon says itself when a run fails by it.
        is_away = upstream["state"] in {"unreachable", "connecting", "refused"}
        if committed > self._committed or not is_away:
            self._committed = committed
            self._progress_at = now

    def is_over(self, *, now: float) -> bool:
        """Whether nothing more is worth waiting for."""
        if self._is_done:
            return True
        if now - self._heard_at >= SILENCE_S_MAX:
            self._gave_up_on = "daemon"
        elif now - self._progress_at >= self._wait_s:
            self._gave_up_on = "refusal" if self._upstream["state"] == "refused" else "upstream"
        return bool(self._gave_up_on)

    def failure(self) -> CliError | None:
        """How the command fails, or None where all is upstream."""
        said = upstream_sentence(self._upstream)
        if self._gave_up_on == "daemon":
            return CliError(
                f"The daemon has said nothing for {SILENCE_S_MAX:g} s. Look at `kelt daemon logs`.",
                code=ExitCode.UNREACHABLE,
            )
        if self._gave_up_on == "refusal":
            return CliError(said)
        if self._gave_up_on == "upstream":
            return CliError(
                f"{said} The daemon goes on trying; `kelt sync` tells when all has arrived.",
                code=ExitCode.UNREACHABLE,
            )
        failed = [f for f in self.folders if f["error"] or f["committed"] < f["records"]]
        if failed:
            return CliError(
                f"{count(len(failed), 'run')} of {len(self.folders)} could not be sent; "
                "the lines above say why."
            )
        return None
