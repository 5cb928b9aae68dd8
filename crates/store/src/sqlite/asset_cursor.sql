-- Of the events with higher numbers a Dag's runs have not been told yet.
CREATE TABLE asset_cursor (
    dag_id TEXT NOT NULL PRIMARY KEY,
    event_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO asset_cursor (dag_id, event_id) SELECT dag_id, min(event_id) - 1 FROM asset_queue GROUP BY dag_id;

-- The assets whose events wait for a Dag and count for its condition. Before, each event waited for itself.
ALTER TABLE asset_queue RENAME TO asset_queue_of_events;
CREATE TABLE asset_queue (
    dag_id TEXT NOT NULL,
    asset_id INTEGER NOT NULL,
    -- It was active at one of them: references by name and URI mean it.
    named INTEGER NOT NULL,
    -- By which its producers named it.
    aliases TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_event INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (dag_id, asset_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX asset_queue_asset ON asset_queue (asset_id);
INSERT INTO asset_queue (dag_id, asset_id, named, aliases, first_at, last_event, last_at)
    SELECT q.dag_id, e.asset_id, 1,
        (SELECT json_group_array(DISTINCT l.alias) FROM asset_queue_of_events AS p
             JOIN asset_event AS f ON f.id = p.event_id JOIN asset_event_alias AS l ON l.event_id = f.id
         WHERE p.dag_id = q.dag_id AND p.counts AND f.asset_id = e.asset_id),
        min(e.at), max(e.id), max(e.at)
    FROM asset_queue_of_events AS q JOIN asset_event AS e ON e.id = q.event_id
    WHERE q.counts GROUP BY q.dag_id, e.asset_id;
DROP TABLE asset_queue_of_events;

-- The assets that were ever updated by an alias.
CREATE TABLE asset_alias_asset (
    alias TEXT NOT NULL,
    asset_id INTEGER NOT NULL,
    PRIMARY KEY (alias, asset_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX asset_alias_asset_id ON asset_alias_asset (asset_id);
INSERT OR IGNORE INTO asset_alias_asset (alias, asset_id)
    SELECT l.alias, e.asset_id FROM asset_event_alias AS l JOIN asset_event AS e ON e.id = l.event_id;
-- They are active now, but for those whose name or URI another active asset has.
UPDATE OR IGNORE asset SET active = 1 WHERE NOT active AND id IN (SELECT asset_id FROM asset_alias_asset);

-- Whether the asset was active.
ALTER TABLE asset_event ADD COLUMN active INTEGER NOT NULL DEFAULT 1;
-- The events of an asset behind a cursor.
CREATE INDEX asset_event_order ON asset_event (asset_id, id);
