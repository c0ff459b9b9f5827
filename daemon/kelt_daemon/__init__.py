"""The sidecar daemon: keeps what trainers log, and carries it upstream.

Constraints
    One daemon per state folder, whoever races (`instance`). Nothing found in a run folder stops
    the start: a folder that cannot be read is parked with a sentence and harms no other. What was
    acknowledged as durable survives power loss (`journal`); what was acknowledged as committed is
    the server's own word. No queue, message or file is without a bound (`config`).

Operation
    One event loop. A run folder has a state (`run_folders`), to which batches are offered by the
    streams of `ingest` and by the import of spools (`spools`). Check and append are one step
    without an await between. `commit` writes and syncs all dirty journals together in a worker
    thread; then the folder's writers are told. `keeper` watches the life of the writer and judges
    it (`probe` finds facts, `liveness` decides); `shipper` sends what is `unsent` of the journal,
    behind the upstream's cursor. `links` keeps the connection to each upstream; `heartbeats` tells
    it who lives.

The daemon as a writer
    What the daemon itself says of a run (assertions, losses of unknown extent) goes into a
    sequence of its own, the *witness* of the folder, whose random id lies in `witness.json`
    with the machine and path it was made for; a copy of the folder elsewhere gets another. Records
    of the trainer that are lost for good become one batch in the trainer's own sequence,
    `first_seq` to `last_seq` of the loss, whose only frame is a LOSS with the number `last_seq`.

Recovery
    The journal tells what is durable, and the states that were asserted. `cursors.json` is a hint
    of what the server has; the server's answer to Cursors, or to a push, replaces it. It is
    asked after every connection (`recheck`), as it may have been restored from a backup.
"""
