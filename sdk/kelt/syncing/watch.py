"""When a sync is over, and how it ended. Pure: reports and times in, a verdict out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: A daemon that says nothing at all for so long is not waited for.
SILENCE_S_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a sync did not come to its end."""

    sentence: str
    is_unreachable: bool = False


def upstream_sentence(upstream: Mapping[str, Any]) -> str:
    """What keeps an upstream from taking records, with its address, which is said once."""
    reason = str(upstream["reason"]) or f"it is {upstream['state']}"
    sentence = reason if upstream["url"] in reason else f"{upstream['url']}: {reason}"
    return sentence if sentence.endswith(".") else f"{sentence}."


class SyncWatch:
    """What the daemon has reported of a sync so far.

    Args:
        wait_s: how long an upstream may stay out of reach without any progress.
        now: the time, in seconds of any clock that does not go back.
        had: what the upstream had before, of folders for which it was asked earlier.
    """

    def __init__(self, *, wait_s: float, now: float, had: Mapping[str, int] | None = None) -> None:
        self._folders: dict[str, dict[str, Any]] = {}
        self._skipped: dict[str, int] = dict(had or {})
        self._wait_s = wait_s
        self._is_done = False
        self._upstream: Mapping[str, Any] = {"state": "", "reason": "", "url": ""}
        self._committed = -1
        self._progress_at = now
        self._heard_at = now
        #: Before the first report nothing is known of the upstream that could keep it away.
        self._is_heard = False
        self._gave_up_on = ""

    @property
    def folders(self) -> list[dict[str, Any]]:
        """The last report of each folder, in the order of the first."""
        return list(self._folders.values())

    def take(
        self,
        *,
        folders: Sequence[dict[str, Any]],
        upstream: Mapping[str, Any],
        is_done: bool,
        now: float,
    ) -> None:
        """One report of the daemon, of the folders that have changed."""
        for folder in folders:
            path = folder["path"]
            if folder["committed"]:
                # A daemon that took over in the middle would count as had what was sent before.
                self._skipped.setdefault(path, folder["skipped"])
            self._folders[path] = folder | {"skipped": self._skipped.get(path, 0)}
        self._upstream = upstream
        self._is_done = is_done
        if not self._is_heard:
            self._is_heard, self._progress_at = True, now
        self._heard_at = now
        committed = sum(folder["committed"] for folder in self._folders.values())
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
        elif self._is_heard and now - self._progress_at >= self._wait_s:
            self._gave_up_on = "refusal" if self._upstream["state"] == "refused" else "upstream"
        return bool(self._gave_up_on)

    def failure(self) -> Failure | None:
        """How it failed, or None where the upstream has said that it has everything."""
        said = upstream_sentence(self._upstream)
        if self._gave_up_on == "daemon":
            return Failure(
                f"The daemon has said nothing for {SILENCE_S_MAX:g} s. Look at `kelt daemon logs`.",
                is_unreachable=True,
            )
        if self._gave_up_on == "refusal":
            return Failure(said)
        if self._gave_up_on == "upstream":
            return Failure(
                f"{said} The daemon goes on trying; `kelt sync` tells when all has arrived.",
                is_unreachable=True,
            )
        failed = sum(not folder["is_synced"] for folder in self._folders.values())
        if failed:
            runs = "1 run" if failed == 1 else f"{failed:,} runs"
            return Failure(
                f"{runs} of {len(self._folders):,} could not be sent; the lines above say why."
            )
        return None
