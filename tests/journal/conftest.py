import pytest

from harness.spools import WRITER
from kelt.journal.spool import InternedSchema, SpoolWriter
from kelt_proto.v1.rows import ColumnKind, Schema


@pytest.fixture
def spool(tmp_path):
    writer = SpoolWriter(folder=tmp_path, writer_id=WRITER, quota_bytes=64 * 2**20)
    yield writer
    writer.close()


@pytest.fixture
def schema():
    return InternedSchema(Schema(0, ("a", "b"), (ColumnKind.FLOAT, ColumnKind.INT)))
