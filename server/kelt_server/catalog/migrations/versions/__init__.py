"""The migrations, in order of `down_revision`."""
