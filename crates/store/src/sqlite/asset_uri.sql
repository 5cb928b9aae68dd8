-- Assets that share a URI are looked for whenever a file with assets is imported.
CREATE INDEX asset_uri ON asset (uri);
-- Files that were imported before assets were kept are imported again, so that their assets are known.
UPDATE file SET fingerprint = '{}';
