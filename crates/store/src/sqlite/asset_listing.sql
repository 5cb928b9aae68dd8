-- When assets were made and changed, who names them, and which aliases there are: what the API says of them.
ALTER TABLE asset ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE asset ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
UPDATE asset SET created_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER);
UPDATE asset SET updated_at = created_at;

CREATE TABLE asset_reference (
    asset_id INTEGER NOT NULL,
    -- 0: the Dag waits for it; 1: the task has it among its inlets; 2: among its outlets.
    role INTEGER NOT NULL,
    dag_id TEXT NOT NULL,
    -- Empty for a Dag.
    task_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (asset_id, role, dag_id, task_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX asset_reference_dag ON asset_reference (dag_id);

CREATE TABLE asset_alias (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    grp TEXT NOT NULL
) STRICT;
INSERT INTO asset_alias (name, grp) SELECT DISTINCT alias, '' FROM asset_alias_asset ORDER BY alias;

CREATE INDEX asset_event_at ON asset_event (at);
