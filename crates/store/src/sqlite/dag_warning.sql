-- What there is to say about Dags beside errors of their files: one text for each.
CREATE TABLE dag_warning (
    dag_id TEXT PRIMARY KEY,
    message TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
