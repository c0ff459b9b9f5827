import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelt.terminal_output import ConsoleOutput


def written(*pieces):
    """The lines in the end, of pieces of standard output (texts) and standard error (bytes)."""
    console, lines = ConsoleOutput(), {}
    for piece in pieces:
        is_error = isinstance(piece, bytes)
        lines |= console.write(piece.decode() if is_error else piece, is_error=is_error)
    assert list(lines) == sorted(lines)
    return list(lines.values())


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        (["a\nb", "c\n", "\n", "d"], ["a", "bc", "", "d"]),
        (["10 %\r20 %", "\r100 %\ndone\n"], ["100 %", "done"]),
        (["longer\rshort"], ["shortr"]),
        (["longer\r\x1b[Kshort"], ["short"]),
        (["ab\b\bcd"], ["cd"]),
        (["one: 1\ntwo: 1\n", "\x1b[2A", "one: 2\n", "two: 2\n", "end"], ["one: 2", "two: 2", "end"]),
        (["out", b"err\n", " more\n"], ["out more", "err"]),
        (["\x1b[31mred\x1b[0m\nplain"], ["\x1b[31mred\x1b[0m", "plain"]),
        (["\x1b]0;title\x07text"], ["text"]),
        (["a\x1b", "[3", "1mb"], ["a\x1b[31mb"]),
        (["x" * 5000], ["x" * 4096]),
        (["\x1b[99A\x1b[9999999999Ca"], [" a"]),
    ],
)  # fmt: skip
def test_lines_are_as_they_stand_in_the_end(pieces, lines):
    assert written(*pieces) == lines


def test_a_piece_tells_only_what_it_changes():
    console = ConsoleOutput()
    assert console.write("a\nb\n", is_error=False) == {0: "a", 1: "b"}
    assert console.write("\n", is_error=False) == {2: ""}
    assert console.write("c", is_error=False) == {3: "c"}
    assert console.write("\n", is_error=False) == {}


PARTS = st.sampled_from(
    ["a", "é", "\n", "\r", "\b", "\x1b[31m", "\x1b[0m", "\x1b[A", "\x1b[2B", "\x1b[K", "\x1b[1K"]
    + ["\x1b[2K", "\x1b[3C", "\x1b[2D", "\x1b[G", "\x1b]0;t\x07", "\x1b(B", "\x1b", "[", "word"]
)


@given(st.lists(PARTS, max_size=40).map("".join), st.data())
def test_it_does_not_matter_where_pieces_end(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    console, whole, cut = ConsoleOutput(), {}, {}
    whole = ConsoleOutput().write(text, is_error=False)
    for piece in pieces:
        cut |= console.write(piece, is_error=False)
    assert cut == whole
