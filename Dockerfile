# The database of docker-compose.yaml: Postgres with the output plugins wal2json and decoderbufs beside its own pgoutput.
FROM postgres:15-bookworm

RUN apt-get update \
 && apt-get install -y --no-install-recommends postgresql-15-wal2json postgresql-15-decoderbufs \
 && rm -rf /var/lib/apt/lists/*

CMD ["postgres", "-c", "wal_level=logical", "-c", "max_wal_senders=16", "-c", "max_replication_slots=16"]
