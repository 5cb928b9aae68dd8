-- Deadlines of runs that are neither met nor missed.
CREATE TABLE deadline (
    id BLOB PRIMARY KEY,
    run_rid INTEGER NOT NULL,
    alert INTEGER NOT NULL,
    -- NULL until it has been worked out.
    at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX deadline_run ON deadline (run_rid);
