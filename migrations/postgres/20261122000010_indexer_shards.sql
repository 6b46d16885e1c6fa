-- The nodes of a cluster, a row for each, kept up to date by the nodes themselves, for whoever looks at the
-- database: nothing is decided by it. Each table has the same columns in SQLite.

CREATE TABLE code_search_indexer_shards (
    -- Name of the node, as SHARD_ID gives it.
    shard_id TEXT PRIMARY KEY NOT NULL,
    -- Grows with each start of the node.
    generation BIGINT NOT NULL,
    -- Addresses at which others reach it: its HTTP API, and other nodes' calls.
    http TEXT NOT NULL,
    grpc TEXT NOT NULL,
    -- Of the program.
    version TEXT NOT NULL,
    -- active, draining, stopped (it has left in good order) or dead (the leader says so).
    status TEXT NOT NULL,
    -- Index shards that it serves, and bytes of them.
    shards_serving BIGINT NOT NULL,
    index_bytes BIGINT NOT NULL,
    -- Bytes of its disk.
    disk_total BIGINT NOT NULL,
    disk_free BIGINT NOT NULL,
    -- Milliseconds since 1970, by the node's clock: its start, and when it last wrote this row.
    started_at BIGINT NOT NULL,
    last_heartbeat BIGINT NOT NULL
);
