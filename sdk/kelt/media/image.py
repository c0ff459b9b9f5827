"""Pictures, with boxes, masks and the classes that these name."""

from __future__ import annotations

import copy
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from kelt.errors import UsageError
from kelt.media.cell_types import constant, in_order
from kelt.media.media import FileMedia, Holder, Media, Source, is_address, snapshot, unreadable

if TYPE_CHECKING:
    from typing_extensions import Self

_FORMATS = ("png", "jpg", "jpeg", "bmp")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Classes(Media):
    """Names of classes.

    Args:
        class_set: dicts with `id` and `name`.
    """

    log_type = "classes"

    def __init__(self, class_set: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__()
        self.class_set = [dict(said) for said in class_set]

    def document(self, holder: Holder) -> dict[str, Any]:
        """As `Media` has it."""
        del holder
        return {"_type": self.log_type, "class_set": self.class_set}

    @classmethod
    def of_document(cls, document: Mapping[str, Any], source: Source) -> Self:
        """As `Media` has it."""
        del source
        return cls(document["class_set"])


class BoundingBoxes2D(Media):
    """Boxes over a picture.

    Args:
        val: `box_data`, and `class_labels` of its classes.
        key: what they are called.
    """

    def __init__(self, val: Mapping[str, Any], key: str = "") -> None:
        super().__init__()
        self.key = key
        self.boxes: list[dict[str, Any]] = copy.deepcopy(list(val.get("box_data", ())))
        ids = sorted({box["class_id"] for box in self.boxes if "class_id" in box})
        by_default = {number: f"class_{number}" for number in ids}
        self.labels: dict[Any, str] = dict(val.get("class_labels", by_default))


class ImageMask(FileMedia):
    """A class for each point of a picture.

    Args:
        val: `mask_data`, an array, or the `path` of a picture; and `class_labels`.
        key: what it is called.
    """

    log_type, folder, has_type = "mask", "images/mask", False

    def __init__(self, val: Mapping[str, Any], key: str = "") -> None:
        super().__init__()
        self.key = key
        self._path = os.fspath(val.get("path", ""))
        self._data = snapshot(val.get("mask_data"))
        self.labels: dict[Any, str] | None = None
        if not self._path:
            self.labels = dict(val["class_labels"]) if "class_labels" in val else self._by_default()

    def _by_default(self) -> dict[Any, str]:
        import numpy as np  # noqa: PLC0415 # whoever has masks has it

        numbers = np.unique(_on_cpu(self._data)).astype(np.int32).tolist()
        return {number: f"class_{number}" for number in numbers}

    def _made(self) -> tuple[bytes, str]:
        pictures = _pillow()
        data = _on_cpu(self._data)
        if len(getattr(data, "shape", ())) != 2:  # noqa: PLR2004 # rows of points
            raise unreadable("a mask", data, "mask_data is an array of rows")
        made = io.BytesIO()
        pictures.fromarray(data.astype("int8")).convert("L").save(made, "PNG")
        return made.getvalue(), ".mask.png"

    @classmethod
    def _read(cls, path: str, document: Mapping[str, Any], source: Source) -> Self:
        del document, source
        return cls({"path": path})


class Image(FileMedia):
    """A picture.

    Args:
        data_or_path: a file, the address of one, an array, a tensor, a picture of Pillow's, a
            figure of matplotlib's, or another Image.
        mode: Pillow's, of an array.
        caption: shown beside it.
        grouping: wandb's.
        classes: of its boxes and masks: `Classes`, or dicts with `id` and `name`.
        boxes: `BoundingBoxes2D` by name, or what they are made of.
        masks: `ImageMask` by name, or what they are made of.
        file_type: png, jpg, jpeg or bmp, of what is no file yet.
    """

    log_type, folder = "image-file", "images"
    classes: Classes | None

    def __init__(  # noqa: PLR0917 # wandb's order
        self,
        data_or_path: Any = None,
        mode: str | None = None,
        caption: str | None = None,
        grouping: int | None = None,
        classes: Classes | Sequence[Mapping[str, Any]] | None = None,
        boxes: Mapping[str, Any] | None = None,
        masks: Mapping[str, Any] | None = None,
        file_type: str | None = None,
    ) -> None:
        super().__init__(caption=caption)
        self._mode = mode
        self._grouping = grouping
        self._format = file_type or "png"
        self._data: Any = None  # of what is no file yet
        inherited: Classes | None = None
        if isinstance(data_or_path, Image):
            vars(self).update(vars(data_or_path))
            self.caption = caption or self.caption
            self._grouping = self._grouping if grouping is None else grouping
            self.origin, inherited = None, data_or_path.classes
        elif isinstance(data_or_path, (str, os.PathLike)):
            self._path = os.fspath(data_or_path)
            self._format = PurePath(self._path).suffix[1:]
        else:
            self._data = self._kept(data_or_path)
        self.boxes = {
            key: found if isinstance(found, BoundingBoxes2D) else BoundingBoxes2D(found, key)
            for key, found in (boxes or {}).items()
        }
        self.masks = {
            key: found if isinstance(found, ImageMask) else ImageMask(found, key)
            for key, found in (masks or {}).items()
        }
        self.classes = self._classes_of(classes) or inherited

    def _kept(self, data: Any) -> Any:
        figure = data.gcf() if hasattr(data, "gcf") else getattr(data, "figure", None) or data
        if not hasattr(figure, "savefig"):
            return snapshot(data)
        drawn = io.BytesIO()
        try:
            figure.savefig(drawn, format=self._format)
        except Exception as error:  # noqa: BLE001 # libraries fail in their own ways
            return error
        return drawn

    def _classes_of(self, given: Classes | Sequence[Mapping[str, Any]] | None) -> Classes | None:
        """All that boxes and masks name, and what was given."""
        named: dict[Any, Any] = {}
        for boxes in self.boxes.values():
            named.update(boxes.labels)
        for mask in self.masks.values():
            named.update(mask.labels or {})
        found = given.class_set if isinstance(given, Classes) else given or ()
        named.update({said["id"]: said["name"] for said in found})
        return (
            Classes([{"id": key, "name": name} for key, name in named.items()]) if named else None
        )

    def document(self, holder: Holder) -> dict[str, Any]:
        """As `Media` has it."""
        if self._data is not None and self._format not in _FORMATS:
            raise UsageError(
                f"artifact.add: the file_type of an Image is of {', '.join(_FORMATS)}."
            )
        if (self.masks or self.boxes) and self.classes is None:
            raise UsageError("artifact.add: an Image with masks or boxes wants its classes.")
        said = {**super().document(holder), "format": self._format}
        if not is_address(self._path):
            said["width"], said["height"] = self._picture().size
        if self._grouping:
            said["grouping"] = self._grouping
        if self.classes is not None:
            text = str(self.classes.class_set).encode()
            key = hashlib.md5(text, usedforsecurity=False).hexdigest()
            entry = holder.add(self.classes, f"media/classes/{key}_cls")
            said["classes"] = {"type": "classes-file", "path": entry.path, "digest": entry.digest}
        if self.boxes:
            said["boxes"] = {key: found.boxes for key, found in self.boxes.items()}
        if self.masks:
            said["masks"] = {key: found.document(holder) for key, found in self.masks.items()}
        return said

    def _made(self) -> tuple[bytes, str]:
        made = io.BytesIO()
        kind = "JPEG" if self._format in {"jpg", "jpeg"} else self._format.upper()
        self._picture().save(made, kind, transparency=None)
        return made.getvalue(), f".{self._format}"

    def _picture(self) -> Any:
        """Pillow's, of whatever was given."""
        pictures = _pillow()
        data = self._data
        try:
            if self._path:
                return pictures.open(self._path)
            if isinstance(data, (io.BytesIO, pictures.Image)):
                return pictures.open(data) if isinstance(data, io.BytesIO) else data
            return self._of_array(data)
        except Exception as error:
            what = self._path or type(data).__name__
            raise UsageError(f"artifact.add: {what} cannot be a picture ({error}).") from error

    def _of_array(self, data: Any) -> Any:
        """Points, in rows of [0, 255]; a tensor of PyTorch's has the colours first."""
        if isinstance(data, Exception):
            raise data
        is_torch = hasattr(data, "permute")
        colours = data.shape[0] if is_torch else data.shape[-1]
        mode = self._mode or ("L" if data.ndim == 2 else _MODES[colours])  # noqa: PLR2004 # rows
        if mode == "RGBA" and self._format in {"jpg", "jpeg"}:
            mode = "RGB"
        if is_torch:
            data = (data if data.ndim == 2 else data.permute(1, 2, 0)).cpu().numpy()  # noqa: PLR2004
        data = data.squeeze() if data.ndim > 2 else data  # noqa: PLR2004 # of one colour
        return _pillow().fromarray(data.astype("uint8")).convert(mode)

    @classmethod
    def _read(cls, path: str, document: Mapping[str, Any], source: Source) -> Self:
        classes = document.get("classes")
        masks = document.get("masks") or {}
        return cls(
            path,
            caption=document.get("caption"),
            grouping=document.get("grouping"),
            classes=None if classes is None else source.get(classes["path"]),
            boxes={
                key: {"box_data": found} for key, found in (document.get("boxes") or {}).items()
            },
            masks={key: ImageMask.of_document(found, source) for key, found in masks.items()},
        )

    @property
    def image(self) -> Any:
        """Pillow's.

        Raises:
            UsageError: it cannot be read, or Pillow is not installed.
        """
        return self._picture()

    def type_document(self) -> dict[str, Any]:
        """What a table's column says of it."""
        boxes = {str(key): layer for key, layer in self.boxes.items()}
        masks = {str(key): layer for key, layer in self.masks.items()}
        scores = {
            name
            for layer in boxes.values()
            for box in layer.boxes
            for name in box.get("scores", ())
        }
        classes = [] if self.classes is None else self.classes.class_set
        params = {
            "box_layers": {key: in_order(layer.labels) for key, layer in boxes.items()},
            "box_score_keys": in_order(scores),
            "mask_layers": {key: in_order(layer.labels or ()) for key, layer in masks.items()},
            "box_class_maps": {key: _texts(layer.labels) for key, layer in boxes.items()},
            "mask_class_maps": {
                key: _texts(layer.labels)
                for key, layer in masks.items()
                if layer.labels is not None
            },
            "class_map": {str(said["id"]): said["name"] for said in classes},
        }
        return {
            "wb_type": self.log_type,
            "params": {
                name: constant(value, is_set=name == "box_score_keys")
                for name, value in params.items()
            },
        }


def _on_cpu(data: Any) -> Any:
    return data.cpu().numpy() if hasattr(data, "cpu") else data


def _texts(labels: Mapping[Any, str]) -> dict[str, str]:
    return {str(key): name for key, name in labels.items()}


def _pillow() -> Any:
    try:
        from PIL import Image as Pictures  # noqa: PLC0415 # only scripts that have it get here
    except ImportError:
        raise UsageError("artifact.add: for pictures, pip install pillow.") from None
    return Pictures
