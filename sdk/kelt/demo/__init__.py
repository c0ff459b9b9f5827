"""`kelt demo`: a real training that crashes, forks, rewinds and loses its server, then is checked.

The server, the daemon and each trainer are processes of their own. Before each `log()` a trainer
writes the row to a plain file, so that what the server must hold is known without asking kelt; at
the end every row is compared through the read API. Any difference makes the exit code 1.

`trainer` is the training script, `story` what happens to it, `processes` starts and stops things,
`comparison` decides (pure), `report` draws the table.
"""
