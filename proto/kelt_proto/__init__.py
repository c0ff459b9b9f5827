"""The words that kelt's processes exchange: record payloads, batches and RPCs."""
