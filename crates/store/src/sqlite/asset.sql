-- Assets, what happened to them, and which Dags are to know.
CREATE TABLE asset (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    uri TEXT NOT NULL,
    grp TEXT NOT NULL,
    extra TEXT NOT NULL,
    -- Some Dag that is in a file has it, and no other active asset has its name or its URI.
    active INTEGER NOT NULL,
    UNIQUE (name, uri)
) STRICT;
CREATE UNIQUE INDEX asset_active_name ON asset (name) WHERE active;
CREATE UNIQUE INDEX asset_active_uri ON asset (uri) WHERE active;

-- The assets that a Dag waits for, or that its tasks have among their inlets and outlets.
CREATE TABLE dag_asset (
    dag_id TEXT NOT NULL,
    asset_id INTEGER NOT NULL,
    -- A task of the Dag has it among its outlets.
    produced INTEGER NOT NULL,
    PRIMARY KEY (dag_id, asset_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX dag_asset_id ON dag_asset (asset_id);

CREATE TABLE asset_event (
    id INTEGER PRIMARY KEY,
    asset_id INTEGER NOT NULL,
    extra TEXT NOT NULL,
    at INTEGER NOT NULL,
    source_dag_id TEXT,
    source_run_id TEXT,
    source_task_id TEXT,
    source_map_index INTEGER,
    aliases TEXT NOT NULL
) STRICT;
CREATE INDEX asset_event_asset ON asset_event (asset_id, at);

CREATE TABLE asset_event_alias (
    alias TEXT NOT NULL,
    event_id INTEGER NOT NULL,
    PRIMARY KEY (alias, event_id)
) STRICT, WITHOUT ROWID;

-- The events that wait for a Dag. Those that do not count came while it was paused.
CREATE TABLE asset_queue (
    dag_id TEXT NOT NULL,
    event_id INTEGER NOT NULL,
    counts INTEGER NOT NULL,
    PRIMARY KEY (dag_id, event_id)
) STRICT, WITHOUT ROWID;

-- The events that a run was made of.
CREATE TABLE asset_consumed (
    run_rid INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    PRIMARY KEY (run_rid, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX asset_consumed_event ON asset_consumed (event_id);
