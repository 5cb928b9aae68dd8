-- What people write about task instances; it stays over their tries.
CREATE TABLE task_note (
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (run_rid, task_id, map_index)
) STRICT, WITHOUT ROWID;
