-- Of a cluster: which one the catalog belongs to, and under which epoch each shard is written.
-- Each table has the same columns in PostgreSQL.

-- One row at most.
CREATE TABLE codesearch_cluster (
    only_row BIGINT PRIMARY KEY NOT NULL CHECK (only_row = 1),
    cluster_id BLOB NOT NULL,
    shards BIGINT NOT NULL
);

-- A change of a shard's repositories under another epoch than this is refused.
CREATE TABLE codesearch_shard_epochs (
    shard BIGINT PRIMARY KEY NOT NULL,
    epoch BIGINT NOT NULL
);

-- The shard that the repository's id is hashed to; NULL outside of a cluster.
ALTER TABLE codesearch_repositories ADD COLUMN shard BIGINT;

CREATE INDEX codesearch_repositories_shard ON codesearch_repositories (shard);
