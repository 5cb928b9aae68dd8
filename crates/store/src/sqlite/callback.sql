-- Callbacks that are due, until they have been called.
CREATE TABLE callback (
    id BLOB PRIMARY KEY,
    run_rid INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    call TEXT NOT NULL,
    message TEXT NOT NULL,
    -- The try that it tells of, if it is about one.
    task_id TEXT,
    map_index INTEGER,
    ti_id BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX callback_run ON callback (run_rid);
