"""The kill itself, and the ways of wrapping a function so that it comes before, inside or after."""

import inspect
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

LINES_MAX = 40


class Kill:
    """The one kill of this process: where it is marked, and which occurrence it is."""

    def __init__(self, *, folder, point, nth, seed):
        self.folder = Path(folder)
        self.point = point
        self.nth = nth
        self.seed = seed
        self.random = random.Random(f"{point}:{nth}:{seed}")
        self._seen = 0
        self._lock = threading.Lock()

    def is_due(self):
        """Counts an occurrence; true for the one that is meant, unless somebody died of it before."""
        with self._lock:
            self._seen += 1
            return self._seen == self.nth and not (self.folder / "killed").exists()

    def fire(self, mark="killed"):
        """Dies, if nobody died of this before."""
        try:
            fd = os.open(self.folder / mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        os.write(fd, json.dumps({"pid": os.getpid(), "point": self.point}).encode())
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def owner_of(module, path):
    *parents, name = path.split(".")
    owner = module
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


def before(path, *, when=lambda *_, **__: True):
    def plant(module, kill):
        owner, name = owner_of(module, path)
        original = getattr(owner, name)

        def wrapped(*args, **kwargs):
            if when(*args, **kwargs) and kill.is_due():
                kill.fire()
            return original(*args, **kwargs)

        setattr(owner, name, wrapped)

    return plant


def after(path, *, when=lambda *_, **__: True):
    """Once it returned; an `async` one once it was awaited."""

    def plant(module, kill):
        owner, name = owner_of(module, path)
        original = getattr(owner, name)

        async def awaited(call):
            result = await call
            kill.fire()
            return result

        def wrapped(*args, **kwargs):
            is_due = when(*args, **kwargs) and kill.is_due()
            result = original(*args, **kwargs)
            if is_due and inspect.isawaitable(result):
                return awaited(result)
            if is_due:
                kill.fire()
            return result

        setattr(owner, name, wrapped)

    return plant


def at_line(path, text, *, when=lambda *_, **__: True):
    """Before the line of the function that holds `text`; with a seed, before a drawn one."""

    def plant(module, kill):
        owner, name = owner_of(module, path)
        original = getattr(owner, name)
        lines, first = inspect.getsourcelines(original)
        chosen = {first + i for i, line in enumerate(lines) if text in line}
        if not chosen:
            raise RuntimeError(f"{path} has no line with {text!r} any more")
        drawn = kill.random.randrange(1, LINES_MAX) if kill.seed else 0
        code = original.__code__

        def trace_lines(frame, event, _argument):
            nonlocal drawn
            if event == "line":
                drawn -= 1
                if (not kill.seed and frame.f_lineno in chosen) or (kill.seed and drawn <= 0):
                    kill.fire()
            elif event == "return":
                kill.fire()
            return trace_lines

        def trace(frame, _event, _argument):
            return trace_lines if frame.f_code is code else None

        def wrapped(*args, **kwargs):
            if not (when(*args, **kwargs) and kill.is_due()):
                return original(*args, **kwargs)
            sys.settrace(trace)
            try:
                return original(*args, **kwargs)
            finally:
                sys.settrace(None)

        setattr(owner, name, wrapped)

    return plant
