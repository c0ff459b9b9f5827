"""What scripts log beside numbers: a histogram or a table is carried, pictures and the like not.

A histogram is logged as wandb's client writes it, a table with its cells in the row itself, of
which there are bounds. Other media hold nothing: they are left out of the row (`carrying`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from kelt.errors import UsageError
from kelt.wandb_api.missing import missing

BUCKETS_MAX = 512
#: What a table may bring into a row, whose bound is 8 MiB; wandb shows 10,000 rows.
TABLE_ROWS_MAX = 10_000
TABLE_BYTES_MAX = 1024 * 1024


class Media:
    """Something that kelt does not carry, whatever it is made of."""

    def __init__(self, *_args: Any, caption: str | None = None, **_named: Any) -> None:
        self.caption = caption


class Image(Media):
    """A picture."""


class Video(Media):
    """A film."""


class Audio(Media):
    """A sound."""


class Html(Media):
    """A page."""


class Object3D(Media):
    """A body."""

    from_numpy = from_file = from_point_cloud = classmethod(lambda cls, *_a, **_n: cls())


class Molecule(Media):
    """A molecule."""

    from_rdkit = from_smiles = classmethod(lambda cls, *_a, **_n: cls())


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


class Classes(Media):
    """Names of classes."""


class JoinedTable(Media):
    """A table of two artifacts."""


#: wandb's bases of all that is logged, for isinstance.
WBValue = BatchableMedia = Media
#: What can be in a picture, or in nothing of ours.
BoundingBoxes2D = ImageMask = PartitionedTable = WBTraceTree = Media


def box3d(**corners: Any) -> Media:
    """A box in a point cloud."""
    return Media(**corners)


class Histogram:
    """Counts in buckets.

    Args:
        sequence: the numbers to count.
        np_histogram: counts and edges, as `numpy.histogram` gives them, instead.
        num_bins: how many buckets.

    Raises:
        UsageError: there are no numbers, or too many buckets.
    """

    MAX_LENGTH = BUCKETS_MAX

    def __init__(
        self,
        sequence: Any = None,
        np_histogram: tuple[Any, Any] | None = None,
        num_bins: int = 64,
    ) -> None:
        if np_histogram is None:
            import numpy as np  # noqa: PLC0415 # only scripts that have it call this

            np_histogram = np.histogram(sequence, bins=num_bins)
        if len(np_histogram) != 2:  # noqa: PLR2004 # counts and edges
            raise UsageError("wandb.Histogram: np_histogram is a pair of counts and edges.")
        self.histogram: list[float] = _plain_list(np_histogram[0])
        self.bins: list[float] = _plain_list(np_histogram[1])
        if len(self.histogram) > BUCKETS_MAX or len(self.bins) != len(self.histogram) + 1:
            raise UsageError(
                f"wandb.Histogram: {len(self.histogram)} counts and {len(self.bins)} edges; there "
                f"are at most {BUCKETS_MAX} counts, and one edge more."
            )

    def to_json(self, run: object = None) -> dict[str, Any]:
        """As it stands in the row."""
        del run
        return {"_type": "histogram", "values": self.histogram, "bins": self.bins}


def _plain_list(values: Any) -> list[Any]:
    return list(values.tolist() if hasattr(values, "tolist") else values)


class Table:
    """Rows of cells under named columns.

    Args:
        columns: the names.
        data: the rows.
        rows: the same.
        dataframe: a pandas DataFrame instead.
        more: wandb's types and checks of cells, which kelt does without.
    """

    def __init__(
        self,
        columns: Sequence[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        **more: Any,
    ) -> None:
        del more
        if dataframe is not None or hasattr(data, "columns"):
            frame = data if dataframe is None else dataframe
            columns, data = list(frame.columns), frame.values.tolist()
        found = rows if data is None else data
        self.data: list[list[Any]] = [list(row) for row in (() if found is None else found)]
        self.columns: list[Any] = list(
            ("Input", "Output", "Expected") if columns is None else columns
        )

    def add_data(self, *cells: Any) -> None:
        """One row more.

        Raises:
            UsageError: there are more or fewer cells than columns.
        """
        if len(cells) != len(self.columns):
            raise UsageError(
                f"wandb.Table.add_data: {len(cells)} cells for the columns {self.columns}."
            )
        self.data.append(list(cells))

    def add_row(self, *cells: Any) -> None:
        """The same."""
        self.add_data(*cells)

    def add_column(self, name: str, data: Iterable[Any]) -> None:
        """One column more.

        Raises:
            UsageError: there are more or fewer cells than rows.
        """
        cells = list(data)
        if self.data and len(cells) != len(self.data):
            raise UsageError(
                f"wandb.Table.add_column: {len(cells)} cells of {name!r} for {len(self.data)} rows."
            )
        self.data = [
            [*row, cell] for row, cell in zip(self.data or [[]] * len(cells), cells, strict=True)
        ]
        self.columns.append(name)

    def get_column(self, name: str, convert_to: str | None = None) -> Any:
        """The cells of a column; a NumPy array with `convert_to="numpy"`."""
        at = self.columns.index(name)
        cells = [row[at] for row in self.data]
        if convert_to is None:
            return cells
        import numpy as np  # noqa: PLC0415 # as above

        return np.array(cells)

    def get_dataframe(self) -> Any:
        """As a pandas DataFrame."""
        import pandas as pd  # noqa: PLC0415 # whoever calls this has it

        return pd.DataFrame(self.data, columns=self.columns)


class EvalTable(Table):
    """A table of an evaluation: here a table."""


def bounded_rows(rows: list[list[Any]]) -> list[list[Any]]:
    """The first rows of a table that fit into a row of the history."""
    kept, left = [], TABLE_BYTES_MAX
    for row in rows[:TABLE_ROWS_MAX]:
        left -= len(json.dumps(row, default=str))
        if left < 0:
            break
        kept.append(row)
    return kept


Node = missing("wandb.data_types.Node")
