-- Bundles that are fetched, as they were fetched last: the newest version and where the copy of it is. `url` is a template.
CREATE TABLE bundle (
    name TEXT PRIMARY KEY,
    version TEXT,
    version_path TEXT,
    url TEXT,
    url_params TEXT NOT NULL
) STRICT, WITHOUT ROWID;
