"""The upstream that is a W&B server: runs are carried there in W&B's own protocol.

W&B knows neither our sequence numbers nor exactly-once. What it has instead is an index for each
line of a run's history: who writes a line again at its index replaces it. So the index of a row
must follow from what was logged alone, wherever pushes begin and end and however often one is
repeated. A `CarriedRun` holds what that takes: how far each writer's records were folded into it,
the index of the next line, the last line (later parts of the same row go into it), the config and
the summary, both of which are sent whole. It is written into the run folder, synced, after each
acknowledged request that moved it; after any error what is in memory is forgotten and read again
from there, and what was posted meanwhile is posted again, at the same indices.

A session begins as W&B's own client begins one: an upsert; for a fork with the point in its config,
after which the server says how many lines are inherited; for a rewind after `RewindRun`; for a
resume after asking where the run stands. `Rewind` in mid-session does the same, on the way. Parents
go before their children, and sessions of one run one after the other (`ordering`).

`chapters` takes batches apart, `folding` folds records into a `CarriedRun`, `history_lines`,
`output_lines`, `file_pieces`, `summaries`, `run_config` and `requests` say what that is in W&B's
words, and `replies` takes in what W&B answers: all without I/O. `progress_file` keeps it, `talking`
speaks HTTP, `carrying` does one run's chapters in order, `seats` has them one after the other and
gives signs of life, and `wandb_server` is the `Upstream` that joins them. Files lie on the disk
until they are whole (`file_spool`), within a bound (`file_room`), and go behind the rows
(`file_carrying`, `uploading`); some are made when the run ends (`made_files`, of `output_log` and
`yaml_text`), and the word of that goes behind them all. Artifacts go beside all that, each with a
note of its own (`artifact_carrying`, `artifact_requests`, `artifact_replies`, `artifact_notes`).
"""
