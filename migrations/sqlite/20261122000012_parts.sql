-- Repositories that are too large for one shard are indexed in parts. Each part is a row; the first is the
-- repository's own. Each table has the same columns in PostgreSQL.

-- The repository that this is a further part of.
ALTER TABLE codesearch_repositories ADD COLUMN part_of BLOB;
-- Which part it is, from 0.
ALTER TABLE codesearch_repositories ADD COLUMN part BIGINT NOT NULL DEFAULT 0;
-- How many there are.
ALTER TABLE codesearch_repositories ADD COLUMN parts BIGINT NOT NULL DEFAULT 1;

CREATE UNIQUE INDEX codesearch_repositories_part
    ON codesearch_repositories (part_of, part) WHERE removed_at IS NULL AND part > 0;

-- Parts have the name and the URL of their repository.
DROP INDEX codesearch_repositories_name;
CREATE UNIQUE INDEX codesearch_repositories_name
    ON codesearch_repositories (tenant, name) WHERE removed_at IS NULL AND part = 0;
DROP INDEX codesearch_repositories_url;
CREATE UNIQUE INDEX codesearch_repositories_url
    ON codesearch_repositories (tenant, url_key) WHERE removed_at IS NULL AND part = 0;
