-- Schema version 1. Moments are microseconds since 1970 in UTC, durations microseconds, UUIDs 16 bytes, documents JSON.

-- What changes with every run stands in front of what only an import changes, and the one long column at the end, so
-- that lists read little of each row.
CREATE TABLE dag (
    id INTEGER PRIMARY KEY,
    dag_id TEXT NOT NULL UNIQUE,
    paused INTEGER NOT NULL,
    stale INTEGER NOT NULL,
    next_run_after INTEGER,
    next_interval_start INTEGER,
    next_interval_end INTEGER,
    last_interval_start INTEGER,
    last_interval_end INTEGER,
    -- The run that was made last.
    last_run_rid INTEGER,
    last_run_state TEXT,
    last_run_start INTEGER,
    last_run_end INTEGER,
    has_import_errors INTEGER NOT NULL,
    display_name TEXT NOT NULL,
    owners TEXT NOT NULL,
    tags TEXT NOT NULL,
    bundle_name TEXT NOT NULL,
    bundle_version TEXT,
    timetable_type TEXT NOT NULL,
    source_file TEXT NOT NULL,
    relative_fileloc TEXT NOT NULL,
    fileloc TEXT NOT NULL,
    description TEXT,
    timetable_summary TEXT,
    timetable_description TEXT,
    max_active_tasks INTEGER NOT NULL,
    max_active_runs INTEGER NOT NULL,
    max_consecutive_failed_dag_runs INTEGER NOT NULL,
    has_task_concurrency_limits INTEGER NOT NULL,
    allowed_run_types TEXT,
    last_parsed_at INTEGER NOT NULL,
    last_parse_duration INTEGER NOT NULL,
    version_id BLOB NOT NULL,
    facts TEXT NOT NULL
) STRICT;
CREATE INDEX dag_source ON dag (bundle_name, source_file);

CREATE TABLE dag_version (
    id BLOB PRIMARY KEY,
    dag_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    hash TEXT NOT NULL,
    bundle_name TEXT NOT NULL,
    bundle_version TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX dag_version_number ON dag_version (dag_id, number);

-- The long part of a version, which filters by version need not wade through.
CREATE TABLE dag_document (
    id INTEGER PRIMARY KEY,
    version_id BLOB NOT NULL UNIQUE,
    serialized TEXT NOT NULL,
    extras TEXT NOT NULL
) STRICT;

CREATE TABLE file (
    bundle_name TEXT NOT NULL,
    relative_fileloc TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    imported_at INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    dag_ids TEXT NOT NULL,
    PRIMARY KEY (bundle_name, relative_fileloc)
) STRICT;

CREATE TABLE import_error (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bundle_name TEXT NOT NULL,
    source_file TEXT NOT NULL,
    filename TEXT NOT NULL,
    at INTEGER NOT NULL,
    stack_trace TEXT NOT NULL
) STRICT;
CREATE INDEX import_error_source ON import_error (bundle_name, source_file);

CREATE TABLE dag_run (
    rid INTEGER PRIMARY KEY AUTOINCREMENT,
    dag_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    run_type TEXT NOT NULL,
    triggered_by TEXT NOT NULL,
    triggering_user TEXT,
    state TEXT NOT NULL,
    logical_date INTEGER,
    interval_start INTEGER,
    interval_end INTEGER,
    run_after INTEGER NOT NULL,
    queued_at INTEGER,
    start_date INTEGER,
    end_date INTEGER,
    last_scheduling_decision INTEGER,
    conf TEXT NOT NULL,
    note TEXT,
    clear_number INTEGER NOT NULL,
    version_id BLOB NOT NULL,
    bundle_version TEXT
) STRICT;
CREATE UNIQUE INDEX dag_run_key ON dag_run (dag_id, run_id);
CREATE UNIQUE INDEX dag_run_logical_date ON dag_run (dag_id, logical_date) WHERE logical_date IS NOT NULL;
-- For XComs of earlier runs, where a run without a logical date counts by when it was due.
CREATE INDEX dag_run_undated ON dag_run (dag_id, run_after) WHERE logical_date IS NULL;
-- For lists of a Dag's runs and of all runs.
CREATE INDEX dag_run_of_dag ON dag_run (dag_id, run_after);
CREATE INDEX dag_run_after ON dag_run (run_after);
CREATE INDEX dag_run_date ON dag_run (logical_date);
CREATE INDEX dag_run_start ON dag_run (start_date);
-- For the runs that are under way, which are always few, and for how many there are in each state.
CREATE INDEX dag_run_state ON dag_run (state);

CREATE TABLE task_instance (
    tid INTEGER PRIMARY KEY,
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    id BLOB NOT NULL,
    state TEXT NOT NULL,
    try_number INTEGER NOT NULL,
    max_tries INTEGER NOT NULL,
    version_id BLOB NOT NULL,
    operator TEXT NOT NULL,
    operator_name TEXT NOT NULL,
    pool TEXT NOT NULL,
    pool_slots INTEGER NOT NULL,
    queue TEXT NOT NULL,
    priority_weight INTEGER NOT NULL,
    executor TEXT,
    scheduled_at INTEGER,
    queued_at INTEGER,
    start_date INTEGER,
    end_date INTEGER,
    hostname TEXT,
    unixname TEXT,
    pid INTEGER,
    rendered_map_index TEXT,
    retry_delay_override INTEGER,
    reschedule_date INTEGER
) STRICT;
CREATE UNIQUE INDEX task_instance_key ON task_instance (run_rid, task_id, map_index);
-- For lists over all runs.
CREATE INDEX task_instance_id ON task_instance (id);
CREATE INDEX task_instance_map_index ON task_instance (map_index, id);
CREATE INDEX task_instance_start ON task_instance (start_date, id);
CREATE INDEX task_instance_end ON task_instance (end_date, id);
-- For the use of pools, and for what is under way or went wrong. Most have succeeded, and are not in it.
CREATE INDEX task_instance_open ON task_instance (state, pool, pool_slots) WHERE state <> 'success';

CREATE TABLE task_try (
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    id BLOB NOT NULL,
    state TEXT NOT NULL,
    try_number INTEGER NOT NULL,
    max_tries INTEGER NOT NULL,
    version_id BLOB NOT NULL,
    operator TEXT NOT NULL,
    operator_name TEXT NOT NULL,
    pool TEXT NOT NULL,
    pool_slots INTEGER NOT NULL,
    queue TEXT NOT NULL,
    priority_weight INTEGER NOT NULL,
    executor TEXT,
    scheduled_at INTEGER,
    queued_at INTEGER,
    start_date INTEGER,
    end_date INTEGER,
    hostname TEXT,
    unixname TEXT,
    pid INTEGER,
    rendered_map_index TEXT,
    retry_delay_override INTEGER,
    reschedule_date INTEGER,
    PRIMARY KEY (run_rid, task_id, map_index, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE task_reschedule (
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    try_number INTEGER NOT NULL,
    start_date INTEGER NOT NULL,
    end_date INTEGER NOT NULL,
    reschedule_date INTEGER NOT NULL
) STRICT;
CREATE INDEX task_reschedule_key ON task_reschedule (run_rid, task_id, map_index, try_number);

CREATE TABLE rendered_fields (
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    fields TEXT NOT NULL,
    PRIMARY KEY (run_rid, task_id, map_index)
) STRICT, WITHOUT ROWID;

CREATE TABLE xcom (
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    key TEXT NOT NULL,
    at INTEGER NOT NULL,
    mapped_length INTEGER,
    dag_result INTEGER NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run_rid, task_id, map_index, key)
) STRICT;

-- How many task instances (in each state) and XComs a Dag has, so that lists need not count them.
CREATE TABLE tally (
    kind TEXT NOT NULL,
    dag_id TEXT NOT NULL,
    state TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (kind, dag_id, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER task_instance_added AFTER INSERT ON task_instance BEGIN
    INSERT INTO tally (kind, dag_id, state, count) VALUES ('task', (SELECT dag_id FROM dag_run WHERE rid = new.run_rid), new.state, 1)
        ON CONFLICT (kind, dag_id, state) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER task_instance_removed AFTER DELETE ON task_instance BEGIN
    UPDATE tally SET count = count - 1 WHERE kind = 'task' AND dag_id = (SELECT dag_id FROM dag_run WHERE rid = old.run_rid) AND state = old.state;
END;
CREATE TRIGGER task_instance_moved AFTER UPDATE OF state ON task_instance WHEN new.state <> old.state BEGIN
    UPDATE tally SET count = count - 1 WHERE kind = 'task' AND dag_id = (SELECT dag_id FROM dag_run WHERE rid = old.run_rid) AND state = old.state;
    INSERT INTO tally (kind, dag_id, state, count) VALUES ('task', (SELECT dag_id FROM dag_run WHERE rid = new.run_rid), new.state, 1)
        ON CONFLICT (kind, dag_id, state) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER xcom_added AFTER INSERT ON xcom BEGIN
    INSERT INTO tally (kind, dag_id, state, count) VALUES ('xcom', (SELECT dag_id FROM dag_run WHERE rid = new.run_rid), '', 1)
        ON CONFLICT (kind, dag_id, state) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER xcom_removed AFTER DELETE ON xcom BEGIN
    UPDATE tally SET count = count - 1 WHERE kind = 'xcom' AND dag_id = (SELECT dag_id FROM dag_run WHERE rid = old.run_rid) AND state = '';
END;

CREATE TABLE variable (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL,
    description TEXT,
    is_encrypted INTEGER NOT NULL
) STRICT;

CREATE TABLE connection (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    connection_id TEXT NOT NULL UNIQUE,
    conn_type TEXT NOT NULL,
    description TEXT,
    host TEXT,
    login TEXT,
    password TEXT,
    schema TEXT,
    port INTEGER,
    extra TEXT,
    is_encrypted INTEGER NOT NULL
) STRICT;

CREATE TABLE pool (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    slots INTEGER NOT NULL,
    description TEXT,
    include_deferred INTEGER NOT NULL
) STRICT;
INSERT INTO pool (name, slots, description, include_deferred) VALUES ('default_pool', 128, 'Default pool', 0);
