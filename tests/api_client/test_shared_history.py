"""The rows of a shared run's writers, joined by step where nothing is hidden by it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kelt.api_client.history import HistoryQuery, read_joined_rows


class Pages:
    """Rows by the page, as the server gives them."""

    def __init__(self, rows: list[dict[str, Any]], page_rows: int = 2) -> None:
        self._rows = rows
        self._page_rows = page_rows

    def get(self, _route: str, arguments: list[tuple[str, str | int]] = ()) -> Any:  # type: ignore[assignment]
        begin = int(dict(arguments).get("after", 0))
        end = begin + self._page_rows
        more = str(end) if end < len(self._rows) else None
        return {"rows": self._rows[begin:end], "next": more}


def row(step: int, label: str, **values: Any) -> dict[str, Any]:
    return {
        "step": step,
        "timestamp": float(step),
        "runtime": 0.5,
        "label": label,
        "values": values,
    }


def joined(rows: list[dict[str, Any]], **query: Any) -> list[dict[str, Any]]:
    return list(read_joined_rows(Pages(rows), "/run", HistoryQuery(**query)))


def test_rows_at_one_step_are_joined_unless_they_share_a_key() -> None:
    rows = [
        row(0, "a", loss=1), row(0, "b", gpu=5), row(0, "c", loss=2),
        row(1, "a", loss=3), row(2, "b", gpu=6),
    ]  # fmt: skip
    found = [{k: v for k, v in item.items() if k[0] != "_"} for item in joined(rows)]
    assert found == [{"loss": 1, "gpu": 5}, {"loss": 2}, {"loss": 3}, {"gpu": 6}]


def test_keys_and_samples_are_chosen_after_joining() -> None:
    rows = [item for n in range(9) for item in (row(n, "a", loss=n), row(n, "b", gpu=-n))]
    assert joined(rows, keys=("loss", "gpu", "_step"))[4] == {"loss": 4, "gpu": -4, "_step": 4}
    assert [r["_step"] for r in joined(rows, keys=("loss", "gpu", "_step"), samples=3)] == [0, 4, 8]
    assert [r["_step"] for r in joined(rows, samples=1)] == [8]
    assert len(joined(rows, samples=100)) == 9


def test_rows_of_ordinary_sessions_stay_as_they_are() -> None:
    assert len(joined([row(0, "", loss=1), row(0, "a", gpu=5), row(0, "", acc=1)])) == 3


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.sampled_from("xyz"))).map(
        lambda items: sorted(set(items))
    )
)
def test_joining_loses_and_makes_up_nothing(items: list[tuple[int, str, str]]) -> None:
    rows = [row(step, label, **{key: label}) for step, label, key in items]
    found = joined(rows)
    values = sorted(
        (r["_step"], value, key) for r in found for key, value in r.items() if key[0] != "_"
    )
    assert values == sorted(items)
