"""Sounds, films, pages, bodies and molecules: files that kelt passes on as they are."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelt.errors import UsageError
from kelt.media.media import FileMedia, Source, snapshot, unreadable

if TYPE_CHECKING:
    from typing_extensions import Self

_FILMS = ("gif", "mp4", "webm", "ogg")
_MOLECULES = ("pdb", "pqr", "mmcif", "mcif", "cif", "sdf", "sd", "gro", "mol2", "mmtf")
_POINT_WIDTHS = (3, 4, 6)
_HEAD = (
    '<base target="_blank"><link rel="stylesheet" type="text/css" '
    'href="https://app.wandb.ai/normalize.css" />'
)


class Audio(FileMedia):
    """A sound.

    Args:
        data_or_path: a file, the address of one, or samples.
        sample_rate: of samples, a second.
        caption: shown beside it.
    """

    log_type, folder = "audio-file", "audio"

    def __init__(
        self, data_or_path: Any = None, sample_rate: int | None = None, caption: str | None = None
    ) -> None:
        super().__init__(caption=caption)
        self._path, data = _named(data_or_path)
        self._data = snapshot(data)
        self._sample_rate = sample_rate

    def _made(self) -> tuple[bytes, str]:
        if self._data is None or self._sample_rate is None:
            raise unreadable("Audio", self._data, "samples want their sample_rate")
        try:
            import soundfile  # type: ignore[import-not-found] # noqa: PLC0415 # who has samples has it
        except ImportError:
            raise UsageError("artifact.add: for Audio of samples, pip install soundfile.") from None
        made = io.BytesIO()
        soundfile.write(made, self._data, self._sample_rate, format="WAV")
        return made.getvalue(), ".wav"

    @classmethod
    def _read(cls, path: str, document: Mapping[str, Any], source: Source) -> Self:
        del source
        return cls(path, caption=document.get("caption"))


class Video(FileMedia):
    """A film.

    Args:
        data_or_path: a file, or an open one with its format. Frames are not encoded by kelt.
        caption: shown beside it.
        fps: of frames.
        format: gif, mp4, webm or ogg.
    """

    log_type, folder = "video-file", "videos"

    def __init__(
        self,
        data_or_path: Any = None,
        caption: str | None = None,
        fps: int | None = None,
        format: str | None = None,  # noqa: A002 # wandb's name
    ) -> None:
        del fps
        super().__init__(caption=caption)
        self._path, data = _named(data_or_path)
        self._suffix = format or ""
        self._data = data.read() if isinstance(data, io.BytesIO) else None

    def document(self, holder: Any) -> dict[str, Any]:
        """As `Media` has it."""
        end = self._path.rpartition(".")[2].lower() if self._path else self._suffix
        if end not in _FILMS:
            raise UsageError(f"artifact.add: a Video is one of {', '.join(_FILMS)}, not {end!r}.")
        return super().document(holder)

    def _made(self) -> tuple[bytes, str]:
        if self._data is None:
            raise UsageError(
                "artifact.add: kelt encodes no frames; write them into a file, and name that."
            )
        return self._data, f".{self._suffix}"

    @classmethod
    def _read(cls, path: str, document: Mapping[str, Any], source: Source) -> Self:
        del source
        return cls(path, caption=document.get("caption"))


class Html(FileMedia):
    """A page.

    Args:
        data: a file whose name ends in `.html`, an open one, or the text itself.
        inject: whether links open in another window, and W&B's style is asked for.
        data_is_not_path: whether a text is the page, whatever it looks like.
    """

    log_type, folder = "html-file", "html"

    def __init__(
        self, data: Any = None, inject: bool = True, data_is_not_path: bool = False
    ) -> None:
        super().__init__()
        self.html = ""
        if (
            not data_is_not_path
            and isinstance(data, (str, Path))
            and str(data).endswith(".html")
            and os.path.isfile(data)  # noqa: PTH113 # a long text is no error here
        ):
            self._path = str(data)
            if not inject:
                return
            self.html = Path(data).read_text(encoding="utf-8")
            self._path = ""
        elif hasattr(data, "read"):
            if hasattr(data, "seek"):
                data.seek(0)
            self.html = str(data.read())
        else:
            self.html = str(data)
        if inject:
            self.html = _with_head(self.html)

    def _made(self) -> tuple[bytes, str]:
        return self.html.encode(), ".html"

    @classmethod
    def _read(cls, path: str, document: Mapping[str, Any], source: Source) -> Self:
        del document, source
        return cls(path, inject=False)


class Object3D(FileMedia):
    """A body: points, or a scene of points, boxes and vectors.

    Args:
        data_or_path: a file, an open one with its `file_type`, an array of points, or a scene.
        caption: shown beside it.
        named: `file_type`.
    """

    log_type, folder = "object3D-file", "object3D"

    def __init__(self, data_or_path: Any = None, caption: str | None = None, **named: Any) -> None:
        super().__init__(caption=caption)
        self._path, data = _named(data_or_path)
        self._points = _points(data)
        self._text = data.read() if hasattr(data, "read") else None
        self._suffix = str(named.get("file_type") or "")

    @classmethod
    def from_file(cls, data_or_path: Any, file_type: str | None = None) -> Self:
        """Of a file."""
        return cls(data_or_path, file_type=file_type)

    @classmethod
    def from_numpy(cls, data: Any) -> Self:
        """Of points."""
        return cls(data)

    @classmethod
    def from_point_cloud(
        cls, points: Any, boxes: Any, vectors: Any = None, point_cloud_type: str = "lidar/beta"
    ) -> Self:
        """Of points, boxes and vectors."""
        scene = {"type": point_cloud_type, "vectors": [] if vectors is None else vectors}
        return cls({**scene, "points": points, "boxes": boxes})

    def document(self, holder: Any) -> dict[str, Any]:
        """As `Media` has it."""
        if self._path and not self._path.endswith(".pts.json"):
            raise UsageError(
                f"artifact.add: of Object3D, artifacts take points (.pts.json), not {self._path}; "
                "add the file with artifact.add_file."
            )
        return super().document(holder)

    def _made(self) -> tuple[bytes, str]:
        if self._text is not None and self._suffix == "pts.json":
            return str(self._text).encode(), ".pts.json"
        if self._points is None:
            raise unreadable("Object3D", self._text, "give an array of points, x y z and more")
        return json.dumps(self._points, separators=(",", ":")).encode(), ".pts.json"

    @classmethod
    def _read(cls, path: str, document: Mapping[str, Any], source: Source) -> Self:
        del source
        return cls(path, caption=document.get("caption"))


class Molecule(FileMedia):
    """A molecule.

    Args:
        data_or_path: a file, or an open one with its `file_type`.
        caption: shown beside it.
        named: `file_type`.
    """

    log_type, folder, has_type = "molecule-file", "molecule", False

    def __init__(self, data_or_path: Any = None, caption: str | None = None, **named: Any) -> None:
        super().__init__(caption=caption)
        self._path, data = _named(data_or_path)
        self._text = data.read() if hasattr(data, "read") else None
        self._suffix = str(named.get("file_type") or "")

    from_rdkit = from_smiles = classmethod(lambda cls, *_args, **_named: cls())

    def document(self, holder: Any) -> dict[str, Any]:
        """As `Media` has it."""
        end = self._path.rpartition(".")[2] if self._path else self._suffix
        if end not in _MOLECULES:
            raise UsageError(f"artifact.add: a Molecule is a file of {', '.join(_MOLECULES)}.")
        return super().document(holder)

    def _made(self) -> tuple[bytes, str]:
        if self._text is None:
            raise unreadable("Molecule", self._text, "write it into a file, and name that")
        return str(self._text).encode(), f".{self._suffix}"

    @classmethod
    def _read(cls, path: str, document: Mapping[str, Any], source: Source) -> Self:
        del source
        return cls(path, caption=document.get("caption"))


def _named(given: Any) -> tuple[str, Any]:
    """The path that was given, or the data."""
    if hasattr(given, "read"):  # an open file, perhaps of a name
        name = getattr(given, "name", None)
        return (name, None) if isinstance(name, str) else ("", given)
    return (os.fspath(given), None) if isinstance(given, (str, os.PathLike)) else ("", given)


def _points(data: Any) -> Any:
    """Points as lists, copied; None where there are none."""
    if isinstance(data, Mapping):
        return {
            "type": data.get("type"),
            **{name: _listed(data.get(name)) for name in ("vectors", "points", "boxes")},
        }
    shape: tuple[int, ...] = getattr(data, "shape", ())
    if len(shape) == 2 and shape[1] in _POINT_WIDTHS:  # noqa: PLR2004 # points, and what is of each
        return data.tolist()
    return None


def _listed(values: Any) -> Any:
    if hasattr(values, "tolist"):
        return values.tolist()
    if isinstance(values, Mapping):
        return {key: _listed(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_listed(value) for value in values]
    return [] if values is None else values


def _with_head(page: str) -> str:
    for found, put in (("<head>", "<head>{}"), ("<html>", "<html><head>{}</head>")):
        if found in page:
            return page.replace(found, put.format(_HEAD), 1).strip()
    return f"{_HEAD}{page}".strip()
