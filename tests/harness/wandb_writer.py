"""Writes `.wandb` files in plain Python, for what the real wandb cannot be made to write quickly."""

import json
import struct
import zlib

from kelt_proto.wandb.wandb_record_pb2 import History, Record, Summary

BLOCK_BYTES = 32768
HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)


class LogWriter:
    """The block format."""

    def __init__(self, file):
        self._file = file
        self._file.write(HEADER)
        self._pos = len(HEADER)

    def add(self, payload):
        """Writes a record; returns where it begins and ends."""
        start, is_first = None, True
        while True:
            left = BLOCK_BYTES - self._pos % BLOCK_BYTES
            if left < 7:
                self._write(bytes(left))
                continue
            if start is None:
                start = self._pos
            piece, payload = payload[: left - 7], payload[left - 7 :]
            is_last = not payload
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}
            body = bytes([kind[is_first, is_last]]) + piece
            self._write(struct.pack("<IH", zlib.crc32(body), len(piece)) + body)
            is_first = False
            if is_last:
                return start, self._pos

    def _write(self, raw):
        self._file.write(raw)
        self._pos += len(raw)


class WandbWriter:
    """Records as the real one writes them."""

    def __init__(self, file):
        self.log = LogWriter(file)
        self._num = 0

    def add(self, **kinds):
        self._num += 1
        for name, message in (("history", History), ("summary", Summary)):
            if name in kinds:
                kinds[name] = message(**kinds[name]).SerializeToString()
        return self.log.add(Record(num=self._num, **kinds).SerializeToString())

    def begin(self, run_id="r1", project="p", config=None, **facts):
        self.add(header={})
        update = [{"key": k, "value_json": json.dumps(v)} for k, v in (config or {}).items()]
        run = {"run_id": run_id, "project": project, "config": {"update": update}}
        run |= {"host": "there", "start_time": {"seconds": 1_700_000_000, "nanos": 5}}
        self.add(run=run | facts)

    def row(self, step, values, at=None):
        own = {"_step": step, "_timestamp": 1_700_000_000.5 + step if at is None else at}
        own["_runtime"] = float(step)
        items = [
            {"nested_key": [name], "value_json": json.dumps(value)}
            for name, value in (values | own).items()
        ]
        return self.add(history={"item": items, "step": {"num": step}})

    def end(self, exit_code=0):
        self.add(exit={"exit_code": exit_code})
