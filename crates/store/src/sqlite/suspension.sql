-- Task instances that go on in another process than the one they began in. Few at any time, and apart
-- from task_instance, whose rows most changes touch.
CREATE TABLE suspension (
    run_rid INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    timeout INTEGER,
    next_method TEXT NOT NULL,
    next_kwargs TEXT NOT NULL,
    -- NULL once the trigger has fired, and where a person is waited for; the columns that follow are then, too.
    trigger_id INTEGER UNIQUE,
    classpath TEXT,
    kwargs TEXT,
    queue TEXT,
    created_at INTEGER,
    -- For a trigger that the engine waits for itself. A timer without an event ends its task.
    timer_at INTEGER,
    timer_event TEXT,
    PRIMARY KEY (run_rid, task_id, map_index)
) STRICT;
