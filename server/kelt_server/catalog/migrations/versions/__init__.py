"""The migrations, in order of `down_revision`."""

#: Four digits each, so that they compare as they follow.
NEWEST_REVISION = "0009"
