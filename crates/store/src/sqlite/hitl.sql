-- What task instances ask people, and what people answer. The columns of both tables are the same, but for the number
-- and the try.
CREATE TABLE hitl_detail (
    hid INTEGER PRIMARY KEY,
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    responded_at INTEGER,
    -- NULL for an answer that nobody gave: the time was up.
    user_id TEXT,
    user_name TEXT,
    untold INTEGER NOT NULL,
    multiple INTEGER NOT NULL,
    subject TEXT NOT NULL,
    body TEXT,
    options TEXT NOT NULL,
    defaults TEXT,
    params TEXT NOT NULL,
    assigned_users TEXT NOT NULL,
    chosen_options TEXT,
    params_input TEXT
) STRICT;
CREATE UNIQUE INDEX hitl_detail_key ON hitl_detail (run_rid, task_id, map_index);
-- For what waits for people, which is always little.
CREATE INDEX hitl_detail_open ON hitl_detail (responded_at) WHERE responded_at IS NULL;
CREATE INDEX hitl_detail_created ON hitl_detail (created_at);

-- As they were when their try gave way to a later one.
CREATE TABLE hitl_detail_try (
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    responded_at INTEGER,
    user_id TEXT,
    user_name TEXT,
    untold INTEGER NOT NULL,
    multiple INTEGER NOT NULL,
    subject TEXT NOT NULL,
    body TEXT,
    options TEXT NOT NULL,
    defaults TEXT,
    params TEXT NOT NULL,
    assigned_users TEXT NOT NULL,
    chosen_options TEXT,
    params_input TEXT,
    PRIMARY KEY (run_rid, task_id, map_index, id)
) STRICT, WITHOUT ROWID;
