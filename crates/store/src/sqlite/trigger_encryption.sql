-- Whether the arguments of a trigger are a Fernet token.
ALTER TABLE suspension ADD COLUMN is_kwargs_encrypted INTEGER NOT NULL DEFAULT 0;
