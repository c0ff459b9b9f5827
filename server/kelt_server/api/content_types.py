"""As what a browser takes the files of runs, which anybody may have written: never as a page.

What could carry a script (HTML, SVG) and what is not known is a download. The rest is shown, in a
sandbox.
"""

from __future__ import annotations

from pathlib import PurePosixPath

BYTES = "application/octet-stream"
_TEXT = "text/plain; charset=utf-8"
_TYPES = {
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".json": "application/json",
    **dict.fromkeys((".csv", ".log", ".md", ".patch", ".py", ".txt", ".yaml", ".yml"), _TEXT),
}
#: Besides what each answer has (`app`).
HEADERS = {"Content-Security-Policy": "sandbox"}


def content_type(path: str) -> str:
    """The type of a file, by how its name ends."""
    return _TYPES.get(PurePosixPath(path).suffix.lower(), BYTES)
