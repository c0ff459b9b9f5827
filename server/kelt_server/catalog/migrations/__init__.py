"""Alembic's migrations of the catalog; a released one is never changed."""
