"""How a process ends: its own exit status is kept, and its run says how it was."""

from __future__ import annotations

import pytest

START = "import kelt, os, signal, sys, time\n{before}\nrun = kelt.init('p')\nkelt.log({{'a': 1}})\n{body}\n"
KILL_SELF = "os.kill(os.getpid(), signal.{0}); time.sleep(20)"

CASES = {
    "return": ("", 0, (0, "", 0)),
    "exit 0": ("sys.exit(0)", 0, (0, "", 0)),
    "exit 3": ("sys.exit(3)", 3, (3, "exit code 3", 0)),
    "exit in a function": ("def main():\n    sys.exit(6)\nmain()", 6, (6, "exit code 6", 0)),
    "exit through finally": (
        "try:\n    sys.exit(3)\nfinally:\n    x = 1",
        3,
        (3, "exit code 3", 0),
    ),
    "exit with words": ("sys.exit('no data')", 1, (1, "no data", 0)),
    "exit that is caught": ("try:\n    sys.exit(4)\nexcept SystemExit:\n    pass", 0, (0, "", 0)),
    "exit that is caught on the last line": (
        "def main():\n    try:\n        sys.exit(4)\n    except SystemExit:\n        pass\nmain()",
        0,
        (0, "", 0),
    ),
    "exception": ("raise ValueError('boom')", 1, (1, "ValueError: boom", 0)),
    "SIGINT": (KILL_SELF.format("SIGINT"), -2, (130, "SIGINT", 2)),
    "SIGTERM": (KILL_SELF.format("SIGTERM"), -15, (143, "SIGTERM", 15)),
    "SIGTERM while logging": (
        "import threading\nthreading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()\nwhile True: kelt.log({'a': 1})",
        -15,
        (143, "SIGTERM", 15),
    ),
    "raise SystemExit in with": ("with run:\n    raise SystemExit(5)", 5, (5, "exit code 5", 0)),
    "exception in with": (
        "try:\n    with run:\n        raise KeyError('k')\nexcept KeyError:\n    pass",
        0,
        (1, "KeyError: 'k'", 0),
    ),
    "finish by hand": ("kelt.finish(exit_code=2)", 0, (2, "exit code 2", 0)),
    "SIGKILL": (KILL_SELF.format("SIGKILL"), -9, None),
    "os._exit": ("os._exit(9)", 9, None),
}

#: What the console of a run ends with, where Python says something of the end.
LAST_WORDS = {
    "exit with words": "no data",
    "exception": "ValueError: boom",
    "SIGINT": "KeyboardInterrupt",
    "exception in with": "KeyError: 'k'",
}


@pytest.mark.parametrize("case", CASES)
def test_a_process_ends_as_it_would_and_its_run_says_how(
    run_script, folders, contents, case
) -> None:
    body, status, ending = CASES[case]
    done = run_script(START.format(before="", body=body))
    assert done.returncode == status, done.stderr
    found = contents(folders()[0])
    assert [(e.exit_code, e.reason, e.signal) for e in found.exits] == ([ending] if ending else [])
    assert len(found.rows) >= 1
    assert found.printed[-1:] == ([LAST_WORDS[case]] if case in LAST_WORDS else [])
    assert found.seqs == list(range(1, len(found.seqs) + 1))


def test_handlers_and_hooks_of_the_script_are_kept_and_called(
    run_script, folders, contents
) -> None:
    before = (
        "def hook(*a): print('my hook')\nsys.excepthook = hook\n"
        "def handler(*a): print('my handler'); sys.exit(7)\nsignal.signal(signal.SIGTERM, handler)\n"
    )
    done = run_script(START.format(before=before, body=KILL_SELF.format("SIGTERM")))
    assert (done.returncode, done.stdout) == (7, "my handler\n")
    assert [e.exit_code for e in contents(folders()[0]).exits] == [7]
    done = run_script(START.format(before=before, body="raise ValueError('x')"))
    assert (done.returncode, done.stdout) == (1, "my hook\n")


def test_hooks_are_taken_back_with_the_last_run(run_script) -> None:
    body = (
        "run.finish()\n"
        "print(sys.excepthook is sys.__excepthook__, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, type(sys.exit).__name__)"
    )
    assert (
        run_script(START.format(before="", body=body)).stdout
        == "True True builtin_function_or_method\n"
    )


@pytest.mark.parametrize(
    "leave", ["os._exit(0)", "sys.exit(0)", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)"]
)
def test_a_forked_child_that_logs_has_a_writer_of_its_own(
    run_script, folders, contents, leave
) -> None:
    body = (
        "for i in range(9): kelt.log({'parent': i})\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    for i in range(20): kelt.log({'child': i})\n"
        "    print('by the child')\n"
        f"    {leave}\n"
        "os.waitpid(pid, 0)\n"
        "print('by the parent')\n"
        "for i in range(5): kelt.log({'parent': i})"
    )
    done = run_script(START.format(before="", body=body))
    assert done.returncode == 0, done.stderr
    parent, child = folders()
    ours, theirs = contents(parent), contents(child)
    assert ours.steps == list(range(15))
    assert theirs.steps == list(range(10, 30))
    assert theirs.column("child") == list(range(20))
    assert ours.printed == ["by the parent"]
    assert theirs.printed == ([] if "_exit" in leave else ["by the child"])
    assert ours.opened.branch_id == theirs.opened.branch_id
    assert theirs.opened.resumed.last_step == 9
    assert theirs.opened.started_at < ours.opened.started_at
    assert len(ours.exits) == 1
    assert ours.seqs == list(range(1, len(ours.seqs) + 1))
    assert theirs.seqs == list(range(1, len(theirs.seqs) + 1))


def test_a_forked_child_that_does_not_log_leaves_no_trace(run_script, folders, contents) -> None:
    done = run_script(
        START.format(
            before="", body="pid = os.fork()\nif pid == 0: sys.exit(3)\nos.waitpid(pid, 0)"
        )
    )
    assert done.returncode == 0, done.stderr
    (only,) = folders()
    assert [e.exit_code for e in contents(only).exits] == [0]
