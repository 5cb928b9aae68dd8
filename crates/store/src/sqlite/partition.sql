-- Parts of assets: which run and which event is about which, and the runs that wait for them.
ALTER TABLE dag_run ADD COLUMN partition_key TEXT;
ALTER TABLE dag_run ADD COLUMN partition_date INTEGER;
CREATE INDEX dag_run_partition ON dag_run (dag_id, partition_key) WHERE partition_key IS NOT NULL;
ALTER TABLE asset_event ADD COLUMN partition_key TEXT;
ALTER TABLE asset_event ADD COLUMN partition_date INTEGER;

-- Runs that are not made yet.
CREATE TABLE partition_pending (
    dag_id TEXT NOT NULL,
    key TEXT NOT NULL,
    first_event INTEGER NOT NULL,
    carried_date INTEGER,
    -- That of the mappers by which its events were mapped.
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (dag_id, key)
) STRICT, WITHOUT ROWID;

-- Their events, and what Python said of each.
CREATE TABLE partition_event (
    dag_id TEXT NOT NULL,
    key TEXT NOT NULL,
    event_id INTEGER NOT NULL,
    told TEXT,
    PRIMARY KEY (dag_id, key, event_id)
) STRICT, WITHOUT ROWID;

-- Events of which Python has not said yet which keys follow from them.
CREATE TABLE partition_unmapped (
    dag_id TEXT NOT NULL,
    event_id INTEGER NOT NULL,
    PRIMARY KEY (dag_id, event_id)
) STRICT, WITHOUT ROWID;
