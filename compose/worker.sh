#!/bin/sh
# Starts `drover worker` of docker-compose.yml, which may also write to what the mirror writes to: its file manager and its
# second bucket. Roots at S3 are those of one service: that of the second bucket.
set -eu
export DROVER_S3_ENDPOINT="$TARGET_S3_ENDPOINT"
exec drover worker "$@" --root "filemanager+${FILE_MANAGER_API_URL:-$MOCK_API_URL}" --root "s3://$TARGET_S3_BUCKET"
