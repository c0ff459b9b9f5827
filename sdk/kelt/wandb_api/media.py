"""What scripts log beside numbers: a histogram or a table is carried, pictures and the like not.

A histogram is logged as wandb's client writes it, a table with its cells in the row itself, of
which there are bounds, and whole in an artifact (`run_tables`). Other media are left out of the row
(`carrying`); `artifact.add` takes those that `kelt.media` has.
"""

from __future__ import annotations

import json
from typing import Any

from kelt.media.image import BoundingBoxes2D, Classes, Image, ImageMask
from kelt.media.media import Histogram, Media
from kelt.media.recorded import Audio, Html, Molecule, Object3D, Video
from kelt.media.table import Table
from kelt.wandb_api.missing import missing

__all__ = [
    "Audio", "BatchableMedia", "Bokeh", "BoundingBoxes2D", "Chart", "Classes", "EvalTable", "Graph",
    "Histogram", "Html", "Image", "ImageMask", "JoinedTable", "Media", "Molecule", "Node",
    "Object3D", "PartitionedTable", "Plotly", "Table", "Video", "WBTraceTree", "WBValue", "box3d",
]  # fmt: skip

#: What a table may bring into a row, whose bound is 8 MiB.
TABLE_BYTES_MAX = 1024 * 1024


class Plotly(Media):
    """A figure."""

    make_plot_media = classmethod(lambda cls, *_a, **_n: cls())


class Bokeh(Media):
    """A figure."""


class Graph(Media):
    """A model's layers."""

    from_keras = classmethod(lambda cls, *_a, **_n: cls())


class Chart(Media):
    """What `wandb.plot` makes."""


class JoinedTable(Media):
    """A table of two artifacts."""


#: wandb's bases of all that is logged, for isinstance.
WBValue = BatchableMedia = Media
#: What is in nothing of ours.
PartitionedTable = WBTraceTree = Media


def box3d(**corners: Any) -> Media:
    """A box in a point cloud."""
    return Media(**corners)


class EvalTable(Table):
    """A table of an evaluation: here a table."""


def bounded_rows(rows: list[list[Any]]) -> list[list[Any]]:
    """The first rows of a table that fit into a row of the history."""
    kept, left = [], TABLE_BYTES_MAX
    for row in rows[: Table.MAX_ROWS]:
        left -= len(json.dumps(row, default=str))
        if left < 0:
            break
        kept.append(row)
    return kept


Node = missing("wandb.data_types.Node")
