#!/usr/bin/env bash
# Fails where the committed protobuf modules are not what their .proto files make.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
scripts/generate_proto.sh "$fresh" 2>/dev/null
status=0
for file in "$fresh"/kelt_proto/*/*; do
  name=${file#"$fresh"/}
  if ! diff -q "$file" "proto/$name" >/dev/null; then
    echo "proto/$name is out of date: run 'make proto'" >&2
    status=1
  fi
done
exit $status
