#!/usr/bin/env bash
# Regenerates the protobuf and gRPC modules beside their .proto files.
#
# The generator lives in an environment of its own: it needs an older protobuf than the one that
# the project runs with, and the oldest generator makes code that the widest range of runtimes
# accepts. Usage: scripts/generate_proto.sh [OUT_DIR]   (default: proto/)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-proto}
venv=.venv-proto
pins="grpcio-tools==1.72.2 mypy-protobuf==3.6.0 setuptools==80.9.0"
if [ ! -x "$venv/bin/protoc-gen-mypy_grpc" ]; then
  ${PYTHON:-python3} -m venv "$venv"
  # shellcheck disable=SC2086  # a list of words
  "$venv/bin/pip" install --quiet --disable-pip-version-check $pins
fi
mkdir -p "$out"
PATH="$PWD/$venv/bin:$PATH" "$venv/bin/python" -m grpc_tools.protoc -Iproto \
  --python_out="$out" --pyi_out="$out" \
  kelt_proto/v1/record.proto kelt_proto/v1/sidecar.proto kelt_proto/v1/upstream.proto \
  kelt_proto/wandb/wandb_record.proto kelt_proto/tensorboard/event.proto
PATH="$PWD/$venv/bin:$PATH" "$venv/bin/python" -m grpc_tools.protoc -Iproto \
  --grpc_python_out="$out" --mypy_grpc_out="$out" \
  kelt_proto/v1/sidecar.proto kelt_proto/v1/upstream.proto
