-- Repositories, the revisions that the index holds of them, what is to be done, and what happened.
-- Times are milliseconds since 1970 in UTC. Each table has the same columns in PostgreSQL.

CREATE TABLE codesearch_repositories (
    id BLOB PRIMARY KEY NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    -- Equal for URLs of the same repository.
    url_key TEXT NOT NULL,
    -- JSON array of globs.
    branches TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('requested', 'pending', 'approved', 'cloning', 'indexing',
                                         'ready', 'error', 'archived', 'rejected')),
    default_branch TEXT,
    fork BOOLEAN NOT NULL DEFAULT FALSE,
    archived BOOLEAN NOT NULL DEFAULT FALSE,
    public BOOLEAN NOT NULL DEFAULT FALSE,
    license TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    indexed_at BIGINT,
    size_bytes BIGINT NOT NULL DEFAULT 0,
    document_count BIGINT NOT NULL DEFAULT 0,
    -- Set once it was removed; the row goes when its files are gone.
    removed_at BIGINT
);

CREATE UNIQUE INDEX codesearch_repositories_name
    ON codesearch_repositories (tenant, name) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX codesearch_repositories_url
    ON codesearch_repositories (tenant, url_key) WHERE removed_at IS NULL;

CREATE TABLE codesearch_revisions (
    repository_id BLOB NOT NULL REFERENCES codesearch_repositories (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    PRIMARY KEY (repository_id, name)
);

-- What is to be done with a repository; gone when it was done.
CREATE TABLE codesearch_jobs (
    repository_id BLOB PRIMARY KEY NOT NULL
        REFERENCES codesearch_repositories (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('sync', 'reindex', 'remove')),
    -- Grows with each request: a job that was asked for again while it ran runs again.
    request BIGINT NOT NULL,
    requested_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    last_error TEXT,
    last_error_code TEXT,
    -- NULL: no further attempt is planned.
    next_attempt_at BIGINT
);

CREATE TABLE codesearch_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repository_id BLOB NOT NULL REFERENCES codesearch_repositories (id) ON DELETE CASCADE,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL
);

CREATE INDEX codesearch_events_repository ON codesearch_events (repository_id, id);
