-- What tasks, triggers and people keep with an asset, over all runs (`asset_state_store` of Airflow 3.3).
CREATE TABLE asset_state (
    asset_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    -- Who wrote it last: task, watcher or api; and which task instance, for a task.
    kind TEXT NOT NULL,
    dag_id TEXT,
    run_id TEXT,
    task_id TEXT,
    map_index INTEGER,
    PRIMARY KEY (asset_id, key)
) STRICT, WITHOUT ROWID;

-- What may be deleted is looked for by its moment.
CREATE INDEX task_state_expires ON task_state (expires_at) WHERE expires_at IS NOT NULL;
