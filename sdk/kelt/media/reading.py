"""Objects made anew from the documents that describe them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from kelt.media.media import Histogram, Media, Source

#: By kind, in which module the class is.
_CLASSES: Mapping[str, tuple[str, str]] = {
    "table": ("table", "Table"),
    "image-file": ("image", "Image"),
    "classes": ("image", "Classes"),
    "mask": ("image", "ImageMask"),
    "audio-file": ("recorded", "Audio"),
    "video-file": ("recorded", "Video"),
    "html-file": ("recorded", "Html"),
    "object3D-file": ("recorded", "Object3D"),
    "molecule-file": ("recorded", "Molecule"),
}


def document_names(name: str) -> Iterator[str]:
    """Under which the document of an object may lie that was added as `name`."""
    for kind in _CLASSES:
        end = f"{kind}.json"
        yield name if name.endswith(end) else f"{name}.{end}"


def of_document(document: Any, source: Source) -> Any:
    """The object that a document describes; anything else as it is.

    Args:
        document: of an object or of a cell.
        source: the artifact that it is in.
    """
    if not isinstance(document, Mapping):
        return document
    kind = document.get("_type")
    if kind == "histogram":
        return Histogram(np_histogram=(document["values"], document["bins"]))
    if not isinstance(kind, str) or kind not in _CLASSES:
        return document
    module, name = _CLASSES[kind]
    found: type[Media] = getattr(import_module(f"kelt.media.{module}"), name)
    return found.of_document(document, source)


def encode_document(document: Mapping[str, Any]) -> bytes:
    """As it lies in an artifact."""
    try:
        return json.dumps(document, sort_keys=True).encode()
    except TypeError:  # keys that have no order between them
        return json.dumps(_with_text_keys(document), sort_keys=True).encode()


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value
