"""Loaded by every Python process that has this folder on PYTHONPATH: faults inside a process.

PLANTED_CLOCK   a file with the seconds by which the time of day is off; may change at any time.
                Only `time.time()` and `time.time_ns()` of the process see it: nobody sets the
                machine's clock.
PLANTED_STUCK   a disk that does not answer: no sync ever returns once this file exists
PLANTED_SECRET  what daemons are made to raise, in a thread and as they end, see `_crash`
"""

import os
import sys
import time

if path := os.environ.get("PLANTED_CLOCK"):
    _real_ns = time.time_ns

    def _offset_ns():
        try:
            with open(path, encoding="ascii") as file:  # noqa: PTH123 # nothing is imported yet
                return int(float(file.read() or 0) * 1e9)
        except (OSError, ValueError):
            return 0

    def _shifted_ns():
        # gRPC's core asks the kernel by itself, and its Python must not differ from it.
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller == __name__:
            caller = sys._getframe(2).f_globals.get("__name__", "")
        return _real_ns() + (0 if caller.startswith("grpc") else _offset_ns())

    def _shifted():
        return _shifted_ns() / 1e9

    time.time_ns = _shifted_ns
    time.time = _shifted

if stuck := os.environ.get("PLANTED_STUCK"):
    _real_sync = os.fdatasync

    def _stuck_sync(fd):
        while os.path.exists(stuck):  # noqa: PTH110
            time.sleep(0.05)
        return _real_sync(fd)

    os.fdatasync = _stuck_sync

if secret := os.environ.get("PLANTED_SECRET"):

    def _crash(module):
        """Breaks the daemon's end, and one of its threads, with errors that quote a key."""
        import threading

        def fail():
            raise RuntimeError(f"in a thread: http://user:{secret}@host/ and {secret}")

        async def drain(_committer):
            thread = threading.Thread(target=fail)
            thread.start()
            thread.join()
            raise RuntimeError(f"at the end, with {secret}")

        assert hasattr(module, "_drain")
        module._drain = drain

    class _AfterImport:
        """Changes the daemon's module right after it was executed."""

        def find_spec(self, name, path=None, _target=None):
            if name != "kelt_daemon.daemon":
                return None
            from importlib.machinery import PathFinder

            spec = PathFinder.find_spec(name, path)
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                _crash(module)

            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, _AfterImport())
