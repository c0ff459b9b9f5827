"""kelt."""
