"""Variables that look like kelt's and are not: a misspelt setting would be ignored in silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_PREFIX = "KELT_"
#: Read by other programs of kelt, which may refuse it.
_OF_OTHERS = ("KELT_DAEMON_LISTEN", "KELT_SERVER_", "KELT_TEST_", "KELT_WANDB_LENIENT")


def unknown_variables(environ: Mapping[str, str], known: Iterable[str]) -> list[str]:
    """A sentence for each variable that nothing reads.

    Args:
        environ: the environment.
        known: the variables that are read.
    """
    names = list(known)
    return [
        f"{name} is in the environment and no setting has that name, so it is ignored"
        + _hint(name, names)
        for name in sorted(environ)
        if name.startswith(_PREFIX) and name not in names and not name.startswith(_OF_OTHERS)
    ]


def _hint(name: str, known: list[str]) -> str:
    import difflib  # noqa: PLC0415 # seldom needed

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""
