"""The command line: `kelt server`, `daemon`, `runs`, `sync`, `status`, `doctor`, `demo`.

One module a command group; what is slow to load (HTTP, gRPC, tables) is loaded inside the commands
that need it, so that `kelt --help` costs a few tens of milliseconds. What people read goes to
stdout, with colours on a terminal alone; `--json` writes strict JSON there, and nothing else, with
NaN and the infinities as the read API writes them. Every failure is one sentence on stderr and an
exit code (`exit_codes`). Commands decide nothing about runs: they show what the server and the
daemon say.
"""
