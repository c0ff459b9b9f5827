"""Artifacts: versions of files under one name, logged by a run.

Constraints:

* What was logged is not changed any more, whatever becomes of the files that it was made of: their
  contents are copied when they are added (`staging`). `policy="immutable"` says that nobody writes
  into a file any more: then it is linked, where the filesystem can.
* Logging an artifact waits for disks alone. What was logged survives the process: it lies in the
  run folder, whole, before `log_artifact` returns, and the daemon carries it to the server.
* Of a draft of a version the contents need not be here: the server has them (`held`).
* The same contents are one version, also where W&B's client logged them: manifest and digest are
  those of W&B's manifest, version 1 (`manifest`).

Format, in the run folder (`logged`):

    artifacts/<number>-<key>/artifact.json   what was said of it: checked JSON (`LoggedArtifact`)
    artifacts/<number>-<key>/files/<MD5>     each content once, the manifest too
    artifacts/<number>-<key>/end.json        the daemon's: the version, or why there is none

The key is the MD5 of the artifact's id, by which the server knows it again. The folder of an
artifact is made aside and renamed, so that it is there whole or not at all. Of a copy of a run
folder, `end.json` lies in the daemon's own folder for it. Before it is logged its contents lie in
`KELT_DIR/staging/<boot id>_<pid>-<start ticks>/<random>/`, which whoever stages next, or the daemon
at its start, sweeps once the process is gone.
"""

from kelt.artifacts.artifact import Artifact

__all__ = ["Artifact"]
