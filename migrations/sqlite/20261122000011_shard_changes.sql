-- What tells a node with a copy of a shard what has changed since it last looked, without reading all that
-- there is. Each table has the same columns in PostgreSQL.

-- How often a repository of the shard was added, indexed or removed, counted in the same transaction.
ALTER TABLE codesearch_shard_epochs ADD COLUMN changes BIGINT NOT NULL DEFAULT 0;
-- How many rows of repositories are gone, which say nothing of it themselves.
ALTER TABLE codesearch_shard_epochs ADD COLUMN deletions BIGINT NOT NULL DEFAULT 0;
-- What changes was when it last was this repository that changed.
ALTER TABLE codesearch_repositories ADD COLUMN changed BIGINT NOT NULL DEFAULT 0;

DROP INDEX codesearch_repositories_shard;
CREATE INDEX codesearch_repositories_shard ON codesearch_repositories (shard, changed);
