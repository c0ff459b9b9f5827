"""Where a run comes from: new, forked, rewound or resumed, as far as it can be known now.

What this host knows comes first, because it holds without a network and for runs that were never
sent. For a run from elsewhere the upstream is asked, for a bounded time. If it does not answer, the
run goes on: a fork or rewind needs only its step, and a resumed run counts its automatic steps
from an end that the server knows.

`finding` decides which way was asked for; `creating`, `leaving` (forks and rewinds), `resuming` and
`shared` go it; `known_runs` is what they ask.
"""
