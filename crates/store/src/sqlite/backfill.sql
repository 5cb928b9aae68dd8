CREATE TABLE backfill (
    id INTEGER PRIMARY KEY,
    dag_id TEXT NOT NULL,
    from_date INTEGER NOT NULL,
    to_date INTEGER NOT NULL,
    conf TEXT,
    is_paused INTEGER NOT NULL,
    reprocess TEXT NOT NULL,
    max_active_runs INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    completed_at INTEGER,
    triggering_user TEXT
) STRICT;
CREATE INDEX backfill_of_dag ON backfill (dag_id);
CREATE INDEX backfill_open ON backfill (id) WHERE completed_at IS NULL;
-- The highest number that was ever given, also to a backfill whose Dag is deleted.
CREATE TABLE backfill_last (id INTEGER NOT NULL) STRICT;
INSERT INTO backfill_last (id) VALUES (0);
ALTER TABLE dag_run ADD COLUMN backfill_id INTEGER;
ALTER TABLE dag_run ADD COLUMN backfill_ordinal INTEGER;
