-- Schema version 1. Moments are microseconds since 1970 in UTC, durations microseconds, UUIDs 16 bytes, documents JSON.

CREATE TABLE dag (
    dag_id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    description TEXT,
    paused INTEGER NOT NULL,
    stale INTEGER NOT NULL,
    bundle_name TEXT NOT NULL,
    bundle_version TEXT,
    source_file TEXT NOT NULL,
    relative_fileloc TEXT NOT NULL,
    fileloc TEXT NOT NULL,
    owners TEXT NOT NULL,
    tags TEXT NOT NULL,
    timetable_type TEXT NOT NULL,
    timetable_summary TEXT,
    timetable_description TEXT,
    max_active_tasks INTEGER NOT NULL,
    max_active_runs INTEGER NOT NULL,
    max_consecutive_failed_dag_runs INTEGER NOT NULL,
    has_task_concurrency_limits INTEGER NOT NULL,
    has_import_errors INTEGER NOT NULL,
    allowed_run_types TEXT,
    last_parsed_at INTEGER NOT NULL,
    last_parse_duration INTEGER NOT NULL,
    version_id BLOB NOT NULL,
    facts TEXT NOT NULL,
    next_run_after INTEGER,
    next_interval_start INTEGER,
    next_interval_end INTEGER,
    last_interval_start INTEGER,
    last_interval_end INTEGER,
    last_run_state TEXT,
    last_run_start INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX dag_source ON dag (bundle_name, source_file);

CREATE TABLE dag_version (
    id BLOB PRIMARY KEY,
    dag_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    hash TEXT NOT NULL,
    bundle_name TEXT NOT NULL,
    bundle_version TEXT,
    created_at INTEGER NOT NULL,
    serialized TEXT NOT NULL,
    extras TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX dag_version_number ON dag_version (dag_id, number);

CREATE TABLE file (
    bundle_name TEXT NOT NULL,
    relative_fileloc TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    imported_at INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    dag_ids TEXT NOT NULL,
    PRIMARY KEY (bundle_name, relative_fileloc)
) STRICT, WITHOUT ROWID;

CREATE TABLE import_error (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bundle_name TEXT NOT NULL,
    source_file TEXT NOT NULL,
    filename TEXT NOT NULL,
    at INTEGER NOT NULL,
    stack_trace TEXT NOT NULL
) STRICT;

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
CREATE INDEX dag_run_after ON dag_run (dag_id, run_after);
-- What is under way is always few, however many runs have ended.
CREATE INDEX dag_run_active ON dag_run (rid) WHERE state IN ('queued', 'running');

CREATE TABLE task_instance (
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    id BLOB NOT NULL,
    state TEXT,
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
    PRIMARY KEY (run_rid, task_id, map_index)
) STRICT, WITHOUT ROWID;
-- For the use of pools: again only what is under way.
CREATE INDEX task_instance_active ON task_instance (pool, state, pool_slots)
    WHERE state IN ('scheduled', 'queued', 'running', 'restarting', 'deferred');

CREATE TABLE task_try (
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    id BLOB NOT NULL,
    state TEXT,
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
    value TEXT NOT NULL,
    at INTEGER NOT NULL,
    mapped_length INTEGER,
    dag_result INTEGER NOT NULL,
    PRIMARY KEY (run_rid, task_id, map_index, key)
) STRICT, WITHOUT ROWID;

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
