"""Taking over what other trackers wrote: TensorBoard, MLflow and Neptune's exporter.

Constraints
    The stores belong to others: they are read, and nothing in them is changed. They may still be
    written, end in the middle of a record, or be damaged; what is whole is carried, and what is not
    is told. Memory is bounded: files are read in pieces, and points that must be put in order are
    sorted on the disk (`point_sorting`).

What comes of a source (`foreign_run`)
    Each source becomes a run folder as `kelt.wandb_files` makes them: copies for the daemon, in
    `KELT_DIR/imports`. Two writers say what is in it.

    The *rows' writer* has RunOpened and then the rows. Its id follows from the source's identity
    and from where it is sent to, and the numbers of its records from their order, so that a repeat
    is recognised by its numbers. The order is one in which a growing source only appends: of the
    file, or of time. Where a source was changed in its middle all the same, the folder made before
    tells (`folders`): the run is then taken over anew, under ids of the next *edition*, and the
    name moves to it.

    The *facts' writer* has what can change without a row: config, tags, the end. It is a session
    without rows, one for each version of the facts: its id begins with the time of that version, so
    that the newest holds, and ends with a digest of them, so that a repeat is the same.

    Neither judges whether a process lives. How a TensorBoard run ended nobody wrote down; it is
    finished unless somebody holds its file open.

Damage
    Costs the record, the line or the file that it lies in, is counted, and is told by a Loss that
    the run's page shows: in the place of the record where there is one, else by a witness.
"""
