-- What task instances keep for their own later tries (`task_state_store` of Airflow 3.3).
CREATE TABLE task_state (
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (run_rid, task_id, map_index, key)
) STRICT, WITHOUT ROWID;
