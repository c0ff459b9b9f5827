"""The door for wandb's clients: they log to this server as they are, and read from it.

A client is pointed here by `WANDB_BASE_URL`. It speaks GraphQL about its run, posts lines of files
to `file_stream`, and puts whole files to addresses that it was told. All that it says becomes
records of a writer (`batches`), committed like those that daemons push; nothing else writes.

Constraints:

* Nothing at a session's beginning tells a new process from a file that is synced again. So where a
  name is there already, a session is only *announced*: what it says is kept, and it gets a writer
  when its first line has come. Lines that are there make it a *repeat*, which gets a writer only
  for what is new. A name that is new is opened at once.
* A row is known again by its step and time on any branch of the run's name. The index of a line
  decides only of lines that have none, and of writers of a shared run, which send an id. Rows are
  looked up where a post overlaps what was taken, or what any session of the name may have logged.
* A post names its run and no process. Which session it goes on with is found by the line and the
  row it stands at (`addressing`): the latest of the name, or one that is displaced and goes on.
* Rows of one writer at one step are parts of one row. So rows of two processes never go to one
  writer at the same steps.
* Clients take most answers but 200 and 503 as the end of their stream. So content is never refused:
  what cannot be kept is a Loss, which the run's page shows.
* Console lines and system samples are known again by number and by millisecond. Neither decides
  whether a session that was announced begins: what comes of them before is held with the session.
* A session that said goodbye is never continued; what comes after it belongs to another writer.

Artifacts are `kelt_server.artifacts`; what clients say of them goes there through
`artifact_answers`, `artifact_changes` and `artifact_routes`, and is no part of a session.

Format: the table `wandb_sessions` of the catalog has one row a session: `client` (empty: the
latest ordinary one of the name; `~` and a writer's id: one that it displaced; else the id of a
shared run's writer), `document`, the session as JSON (`sessions`), `batch`, a `record_pb2.Batch`,
and `saved_at`. Both are written *before* the batch is pushed, and describe the session as it will
stand when it is committed. Old rows are let go.

Recovery: whoever loads a session pushes its batch first, the same bytes under the same numbers;
what is committed already is recognised by its number alone. A client that heard no answer posts
again; its lines are then there. Where a store was set aside as damaged, the writer's beginning is
missing, and the session goes on in another writer on the same branch.
"""

from kelt_server.wandb_api.door import Door
from kelt_server.wandb_api.routes import WandbApi
from kelt_server.wandb_api.session_table import SessionTable
from kelt_server.wandb_api.signing import AddressSigner
from kelt_server.wandb_api.uploads import UploadFolder

__all__ = ["AddressSigner", "Door", "SessionTable", "UploadFolder", "WandbApi"]
