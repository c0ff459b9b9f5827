"""A whole host on a virtual clock: trainers, one daemon, its disk, an upstream, and what befalls them.

The daemon's own parts run, on Trio, whose scheduler and clock are the seed's. So do the trainers'
spools and the SDK's sender. Played are: processes (`machine`), the disk's loss of what was not
synced (`disk`), the upstream behind its contract (`upstream`), threads and streams (`daemon`), and
fate (`fate`), which a seed decides alone. `oracle` judges what came of it from what the players
were told and did, and asks the daemon for nothing.
"""
