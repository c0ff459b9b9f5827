"""The way in: batches are decoded column-wise, and committed in groups to both stores.

`columns` (frames → NumPy) and `apply` (batch + cursors + writer's branch → changes) are pure;
`committer` owns the one thread that writes; `service` is the gRPC edge.

Content never refuses a push: what cannot be read becomes a loss marker over its sequence numbers
and the cursor goes on.
"""
