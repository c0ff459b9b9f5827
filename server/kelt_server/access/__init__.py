"""Who may read and write what: users, teams and their keys.

A run belongs to an *entity*: a user, by the user's name, or a team. A key names its user, who reads
and writes what is the user's own, and what is of the teams in which the user is a member; an admin
reads and writes everything. Without users everybody may do everything, with any key or none. The
server's own key (KELT_SERVER_API_KEY) is an admin's, whose entity is the server's default one.

`accounts` are the users, teams and keys as a value, `account_file` keeps them on disk, `callers`
says what somebody may do, `gate` finds out from a key who calls. Every door asks the gate once for
each call: gRPC in `ingest.service`, HTTP in `api.app`. What is read goes through
`RunReader.seen_by`, what is written through `ingest.permits` or, from wandb's clients, through the
checks of names in `wandb_api`.

Format: `accounts.json` in the server's folder (0600), written whole by rename. It is no part of the
catalog: a damaged catalog is set aside and made anew, and a server must not be open to everybody
because its users were lost. `kelt server user` and its like write it beside a running server, which
looks at the file's time before each call.

    {"format": 1, "is_closed": bool,
     "users": {name: {"is_admin": bool, "made_at": s,
                      "keys": [{"id": 8 hex digits, "sha256": hex of the key, "made_at": s}]}},
     "teams": {name: {"made_at": s, "members": [user]}}}

`is_closed` is set with the first user and stays: when the last one is removed nobody comes in.

Recovery: where the file cannot be read or understood, nobody is let in but by the server's own key,
and everybody is told why. Nothing is written over it.
"""
