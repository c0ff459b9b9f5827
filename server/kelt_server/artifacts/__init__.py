"""Artifacts: versions of files under one name, as wandb's clients log and use them.

Constraints:

* An artifact is logged in steps by a client that may die between any two: it is begun (a row that
  is PENDING), its files and its manifest are put, it is committed. Only what is committed is seen;
  it then has the next number of its collection, and its aliases and `latest` point at it.
* The same content (the manifest's digest) in one collection is the same version, whoever logs it.
  What was begun anyhow stands for that version (MERGED), so that the client's own ids lead there.
* Files are kept once for each content in an entity, by their MD5, which is computed anew when they
  are put. A file that is there already is not asked for again.
* What was deleted is first not found any more; its files go with a sweep, once nothing that is
  committed or about to be refers to them.

Format: the tables `artifact_*` and `artifacts` of the catalog (`catalog.artifact_tables`): a row of
`artifact_files` for each entry of a committed manifest, so that lists and sweeps read no manifests.
The manifest itself, as the client put it, lies beside the blobs (`blobs`). Numbers of deleted
versions are not given again.

Recovery: files are renamed into place whole and synced, and an artifact is committed in one
transaction after all of them; a crash before it leaves a PENDING artifact, which the client's
repeat (known by its client id) goes on with, or which is given up after three days.
"""

from kelt_server.artifacts.blobs import BlobStore
from kelt_server.artifacts.library import ArtifactLibrary
from kelt_server.artifacts.sweeping import Sweeper

__all__ = ["ArtifactLibrary", "BlobStore", "Sweeper"]
