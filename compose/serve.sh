#!/bin/sh
# Starts `drover serve` or `drover dashboard` of docker-compose.yml. Events of the storage come with the secret of a route,
# which is in the environment, while Drover takes it from a settings file: one is written for it, for its user alone.
set -eu
command=$1
shift
umask 077
cat >/tmp/drover.yaml <<YAML
events:
  routes:
    - bucket: $S3_BUCKET_NAME
      destination: /data/incoming
      delete: true
      secret: "$EVENTS_SECRET"
    - bucket: $CUSTOMER_S3_BUCKET
      mirror: default
      secret: "$MIRROR_EVENTS_SECRET"
YAML
unset EVENTS_SECRET MIRROR_EVENTS_SECRET
exec drover "$command" --config /tmp/drover.yaml "$@"
