"""Whatever is logged, moved, deleted and swept, in any order: the library is as a simple model."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from server.artifacts.shelves import Shelf

from harness.amounts import amount
from kelt_server.artifacts import names
from kelt_server.artifacts.sweeping import GRACE_S
from kelt_server.catalog.sqlite import open_catalog

CONTENTS = [
    {"a": b"1"},
    {"a": b"1", "b": b"2"},
    {"c": b"1"},
    {"b": b"2", "c": b"3"},
]
ALIASES = st.sampled_from(["x", "y"])


@dataclass
class Model:
    """Versions by number, and where aliases point."""

    contents: dict[int, int] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    next: int = 0

    def log(self, content: int, alias: str) -> int:
        there = [number for number, found in self.contents.items() if found == content]
        number = there[0] if there else self.next
        self.next += not there
        self.contents[number] = content
        self.aliases |= {alias: number, names.LATEST: number}
        return number

    def delete(self, number: int) -> None:
        del self.contents[number]
        was_latest = self.aliases.get(names.LATEST) == number
        self.aliases = {alias: at for alias, at in self.aliases.items() if at != number}
        if was_latest and self.contents:
            self.aliases[names.LATEST] = max(self.contents)

    def md5s(self) -> set[str]:
        files = [CONTENTS[content] for content in self.contents.values()]
        return {hashlib.md5(data).hexdigest() for file in files for data in file.values()}


class LibraryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model = Model()
        self.open()

    def open(self) -> None:
        self.catalog = open_catalog(self.folder / "catalog.sqlite")
        self.shelf = Shelf(self.folder, self.catalog.engine)

    def teardown(self) -> None:
        self.catalog.close()
        shutil.rmtree(self.folder)

    @rule(content=st.integers(0, 3), alias=ALIASES)
    def log(self, content: int, alias: str) -> None:
        found = self.shelf.log(CONTENTS[content], aliases=(alias,))
        assert found.version == self.model.log(content, alias)

    @precondition(lambda self: self.model.contents)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.contents)))
        found = self.shelf.version(f"v{number}")
        assert found is not None
        self.shelf.library.delete(found.id, with_aliases=True)
        self.model.delete(number)

    @precondition(lambda self: self.model.contents)
    @rule(data=st.data(), alias=ALIASES)
    def move(self, data: st.DataObject, alias: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.contents)))
        found = self.shelf.version(f"v{number}")
        assert found is not None
        self.shelf.library.add_aliases(found.id, [alias])
        self.model.aliases[alias] = number

    @rule(content=st.integers(0, 3))
    def begin_and_die(self, content: int) -> None:
        self.shelf.begin(CONTENTS[content])
        self.shelf.put(CONTENTS[content])
        if content in self.model.contents.values():  # which is known at the beginning
            self.model.log(content, names.LATEST)

    @rule()
    def sweep(self) -> None:
        self.shelf.sweep_later(GRACE_S + 1)
        blobs = {path.name for path in self.shelf.files() if path.parts[-4] == "blobs"}
        assert blobs == self.model.md5s()

    @rule()
    def restart(self) -> None:
        self.catalog.close()
        now = self.shelf.now
        self.open()
        self.shelf.now = now

    @invariant()
    def names_lead_where_they_should(self) -> None:
        wanted = {f"v{number}": number for number in self.model.contents} | self.model.aliases
        asked = {*wanted, "x", "y", "latest", *(f"v{n}" for n in range(self.model.next))}
        found = {alias: self.shelf.number(alias) for alias in asked}
        assert {alias: at for alias, at in found.items() if at is not None} == wanted

    @invariant()
    def no_version_lacks_a_file(self) -> None:
        assert all(self.shelf.blobs.blob("e", md5).is_file() for md5 in self.model.md5s())


TestLibrary = LibraryMachine.TestCase
TestLibrary.settings = settings(
    max_examples=amount(5, long=100), stateful_step_count=amount(12, long=40), deadline=None
)
