-- Which texts are Fernet tokens. Until now none was, whatever people said.
ALTER TABLE connection ADD COLUMN is_extra_encrypted INTEGER NOT NULL DEFAULT 0;
UPDATE connection SET is_encrypted = 0;
UPDATE variable SET is_encrypted = 0;
