"""Hearing what is printed: whatever the streams are, and nothing stays behind."""

# ruff: noqa: T201 # what is tried here

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading

import pytest

from kelt.console_capture import ConsoleCapture


class Heard:
    """A listener, what tells it, and streams in the place of those that pytest minds."""

    def __init__(self) -> None:
        self.said: list[tuple[str, bool]] = []
        self.capture = ConsoleCapture()
        self.out, self.err = io.StringIO(), io.StringIO()

    def __call__(self, text: str, is_error: bool) -> None:
        self.said.append((text, is_error))

    def __enter__(self):
        self._replaced = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self.out, self.err
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.leave(self)
        sys.stdout, sys.stderr = self._replaced

    def texts(self) -> str:
        return "".join(text for text, _ in self.said)


class Frozen:
    """A stream whose methods cannot be replaced."""

    __slots__ = ("text",)

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


class Tee(Frozen):
    """A stream of a notebook or a script, on top of another."""

    def __init__(self, below) -> None:
        self.below = below

    def write(self, text: str) -> int:
        return int(self.below.write(text))


def test_it_is_told_in_order_what_both_streams_got_and_they_got_it() -> None:
    with Heard() as heard:
        assert heard.capture.listen(heard) == []
        print("one", 2)
        print("error", file=sys.stderr)
        sys.stdout.writelines(["a\n", "b\n"])
        assert sys.stdout.write("four") == 4
        heard.capture.leave(heard)
        print("\nnot told")
        assert (heard.out.getvalue(), heard.err.getvalue()) == (
            "one 2\na\nb\nfour\nnot told\n",
            "error\n",
        )
        assert heard.texts() == "one 2\nerror\na\nb\nfour"
        assert {text for text, is_error in heard.said if is_error} == {"error", "\n"}


def test_the_streams_are_what_they_were_afterwards() -> None:
    with Heard() as heard:
        streams = heard.out, heard.err
        before = [vars(stream).copy() for stream in streams]
        heard.capture.listen(heard)
        heard.capture.leave(heard)
        assert (sys.stdout, sys.stderr) == streams
        assert [vars(stream) for stream in streams] == before


def test_whoever_wraps_after_us_stays_and_is_passed_on_to_the_stream() -> None:
    with Heard() as heard:
        heard.capture.listen(heard)
        ours = heard.out.write
        heard.out.write = lambda text: ours(text.upper())
        theirs = heard.out.write
        print("loud")
        heard.capture.leave(heard)
        assert heard.out.write is theirs
        print("still")
        heard.capture.listen(heard)
        print("heard again")
        assert (heard.out.getvalue(), heard.texts()) == (
            "LOUD\nSTILL\nHEARD AGAIN\n",
            "LOUD\nheard again\n",
        )
        heard.capture.leave(heard)
        assert heard.out.write is theirs


def test_whoever_wrapped_before_us_is_put_back() -> None:
    with Heard() as heard:
        plain = heard.out.write
        heard.out.write = theirs = lambda text: plain(text.upper())
        heard.capture.listen(heard)
        print("loud")
        heard.capture.leave(heard)
        assert (heard.out.write, heard.out.getvalue()) == (theirs, "LOUD\n")


def test_streams_on_top_of_each_other_tell_once() -> None:
    with Heard() as heard:
        heard.capture.listen(heard)
        sys.stdout = type("Open", (Tee,), {})(heard.out)
        second = Heard()
        heard.capture.listen(second)
        print("once")
        heard.out.write("below\n")
        assert heard.texts() == second.texts() == "once\nbelow\n"
        assert heard.out.getvalue() == "once\nbelow\n"
        heard.capture.leave(second)


def test_a_stream_that_cannot_be_followed_is_named_and_left_alone() -> None:
    with Heard() as heard:
        frozen = Frozen()
        sys.stderr = frozen
        assert heard.capture.listen(heard) == ["stderr"]
        print("text", file=sys.stderr)
        print("told")
        assert (frozen.text, heard.texts()) == ("text\n", "told\n")


def test_a_process_without_streams_is_fine() -> None:
    with Heard() as heard:
        sys.stdout = None
        assert heard.capture.listen(heard) == []
        print("nowhere")
        assert heard.said == []


def test_what_a_stream_refuses_is_its_own_error_and_not_told() -> None:
    with Heard() as heard:
        heard.capture.listen(heard)
        heard.out.close()
        with pytest.raises(ValueError, match="closed"):
            print("lost")
        with pytest.raises(TypeError):
            sys.stderr.write(b"bytes")
        print("after", file=sys.stderr)
        assert heard.texts() == "after\n"


def test_output_that_is_redirected_meanwhile_is_not_the_consoles() -> None:
    with Heard() as heard:
        heard.capture.listen(heard)
        with contextlib.redirect_stdout(io.StringIO()):
            print("elsewhere")
        print("here")
        assert heard.texts() == "here\n"


def test_threads_are_all_told() -> None:
    with Heard() as heard:
        heard.capture.listen(heard)
        threads = [
            threading.Thread(target=lambda: [print("x" * 50) for _ in range(200)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert heard.texts().count("x") == 8 * 200 * 50


def test_a_forked_child_tells_nobody_until_it_listens_itself() -> None:
    with Heard() as heard:
        capture = heard.capture
        capture.listen(heard)
        read_fd, write_fd = os.pipe()
        with capture._lock:  # as another thread of the parent might hold it
            pid = os.fork()
            if pid == 0:
                capture.after_fork()
                print("not told")
                capture.listen(heard)
                print("told")
                os.write(write_fd, heard.texts().encode())
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert os.read(read_fd, 100) == b"told\n"
        os.close(read_fd)
        os.close(write_fd)
