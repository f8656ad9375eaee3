# An S3 service for tests, see ceph.sh: where a Docker engine answers they have one without installing it.
FROM debian:bookworm-slim
COPY ceph.sh /usr/local/bin/
RUN apt-get update && apt-get install -y --no-install-recommends curl python3-minimal \
  && ceph.sh install && rm -rf /var/lib/apt/lists/*
ENV CEPH_LISTEN=0.0.0.0:8000
EXPOSE 8000
ENTRYPOINT ["ceph.sh", "sh", "-c", "echo S3 is ready; sleep \"$0\""]
