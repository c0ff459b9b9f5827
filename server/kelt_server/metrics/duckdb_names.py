"""Names ↔ numbers: branches, writers and metrics are written in full once."""

from __future__ import annotations

import functools

import pyarrow as pa


class Names:
    """Numbers for names; new ones are written by the next commit."""

    def __init__(self) -> None:
        self.numbers: dict[bytes, int] = {}
        self.names: dict[int, bytes] = {}
        self._new: list[int] = []

    def number(self, name: bytes) -> int:
        """The number of a name, a new one where it has none."""
        found = self.numbers.get(name)
        if found is None:
            found = self.numbers[name] = len(self.names)
            self.names[found] = name
            self._new.append(found)
        return found

    def rename(self, number: int, name: bytes) -> None:
        """Another name for a number; the old one is free. The file has it already."""
        del self.numbers[self.names[number]]
        self.numbers[name] = number
        self.names[number] = name

    def new_rows(self) -> pa.Table:
        """Names that the file does not have yet."""
        return pa.table(
            {
                "number": pa.array(self._new, pa.int32()),
                "name": pa.array([self.names[number] for number in self._new], pa.binary()),
            }
        )

    def settle(self) -> None:
        """The file has them all now."""
        self._new = []


def read_names(rows: list[tuple[int, bytes]]) -> Names:
    """Names out of the rows of their table."""
    names = Names()
    for number, name in rows:
        names.numbers[name] = number
        names.names[number] = name
    return names


def raw_name(name: str) -> bytes:
    """A name as bytes; lone surrogates are kept."""
    return name.encode("utf-8", "surrogatepass")


@functools.lru_cache(maxsize=65_536)
def text_of(name: bytes) -> str:
    """A name out of its bytes."""
    return name.decode("utf-8", "surrogatepass")
