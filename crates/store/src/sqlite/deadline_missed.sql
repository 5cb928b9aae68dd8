-- Deadlines that were missed are kept with their runs, for people to look at.
ALTER TABLE deadline ADD COLUMN missed INTEGER NOT NULL DEFAULT 0;
