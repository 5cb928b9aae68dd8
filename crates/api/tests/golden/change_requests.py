"""The requests that `record_changes.py` sends to Airflow and `tests/changes.rs` replays here, in order. Each scenario
has a Dag of its own: nothing of one matters to another."""


def clear(dag_id, **body):
    return ("POST", f"/dags/{dag_id}/clearTaskInstances", body)


def clears():
    """The Dag is paused: what is cleared waits."""
    at = "/dags/days1"
    run = lambda run_id, **body: ("POST", f"{at}/dagRuns/{run_id}/clear", body)  # noqa: E731
    everything = {"only_failed": False}
    yield from (
        clear("none"), clear("days1"), clear("days1", dag_run_id="none"), clear("days1", colour="red"),
        clear("days1", only_failed=True, only_running=True), clear("days1", task_ids=[]), clear("days1", task_ids=[1, ["a"], ["a", "x"], ["a", 1, 2]]),
        clear("days1", task_ids="a"), clear("days1", start_date="2026-01-02", end_date="2026-01-01"),
        clear("days1", start_date="2026-01-01T00:00:00", end_date="2026-01-02T00:00:00"), clear("days1", dag_run_id="r1", start_date="2026-01-01T00:00:00Z"),
        clear("days1", dag_run_id="r1", start_date="x", end_date="y"), clear("days1", dag_run_id="r1", end_date="y"), clear("days1", dry_run=None),
        clear("days1", note="x" * 1001), clear("days1", dag_run_id="m", include_past=True), clear("days1", dag_run_id="m", include_future=True),
    )
    # What would be cleared.
    for more in (
        {"dag_run_id": "r1"}, {"dag_run_id": "r2"}, {"dag_run_id": "r1", **everything}, {"dag_run_id": "r1", "task_ids": ["a"], **everything},
        {"dag_run_id": "r1", "task_ids": ["c"], **everything}, {"dag_run_id": "r1", "task_ids": ["c"], "include_upstream": True, **everything},
        {"dag_run_id": "r1", "task_ids": ["a"], "include_downstream": True, **everything}, {"dag_run_id": "r1", "task_ids": [["mapped", 1]], **everything},
        {"dag_run_id": "r1", "task_ids": [["mapped", 1]], "include_downstream": True, **everything},
        {"dag_run_id": "r1", "task_ids": [["group.x", 1]], "include_downstream": True, **everything},
        {"dag_run_id": "r1", "task_ids": [["group.y", 0]], "include_upstream": True, **everything},
        {"dag_run_id": "r1", "task_ids": [["a", 3], ["mapped", 7], "none"], "include_upstream": True, **everything},
        {"dag_run_id": "r2", "task_ids": ["c", "last"], "include_future": True, **everything},
        {"dag_run_id": "r2", "task_ids": ["c"], "include_past": True, **everything},
        {"dag_run_id": "r2", "task_ids": ["c"], "include_past": True, "include_future": True, **everything},
        {"start_date": "2026-01-02T00:00:00Z", "task_ids": ["b"], **everything}, {"end_date": "2026-01-01T12:00:00Z", "task_ids": ["b"], **everything},
        {"start_date": "2026-01-01T00:00:00Z", "end_date": "2026-01-02T00:00:00Z", "task_ids": ["c"], "include_downstream": True},
        {"only_failed": True}, {"only_failed": False, "only_running": True}, {"task_ids": ["setup"], **everything}, {"task_ids": ["last", ["last", -1]], **everything},
    ):
        yield clear("days1", **more)
    yield from (
        run("none"), run("r1"), run("r2", only_failed=True), run("r1", only_new=True), run("m", only_new=True), run("r1", only_new=True, only_failed=True),
        run("r1", colour="red"), run("r1", note=5), ("POST", "/dags/none/dagRuns/r1/clear", {}),
    )
    # And now it is.
    for body in (
        {"dag_run_id": "r2", "task_ids": ["c"], "include_downstream": True, "note": "again"}, {"dag_run_id": "r1", "task_ids": ["b"], "reset_dag_runs": False, **everything},
        {"dag_run_id": "m", **everything}, {"dag_run_id": "r1", "task_ids": [["mapped", 1]], **everything},
    ):
        yield clear("days1", dry_run=False, **body)
    for run_id in ("r1", "r2", "r3", "m"):
        yield ("GET", f"{at}/dagRuns/{run_id}")
        yield ("GET", f"{at}/dagRuns/{run_id}/taskInstances?limit=100")
    yield from (("GET", f"{at}/dagRuns/{run_id}/taskInstances/{task}/tries") for run_id in ("r1", "r2") for task in ("b", "c", "last"))
    # Again, before it has run; and with an empty note.
    yield clear("days1", dry_run=False, dag_run_id="r2", task_ids=["c"], only_failed=False, note="")
    yield ("GET", f"{at}/dagRuns/r2/taskInstances/c/tries")
    # Whole runs.
    yield from (
        run("r1", dry_run=False, only_failed=True), run("r1", dry_run=False, only_new=True), run("r1", dry_run=False, note="whole"),
        run("r1", dry_run=False, run_on_latest_version=True, note=""), ("GET", f"{at}/dagRuns/r1"),
        ("GET", f"{at}/dagRuns/r1/taskInstances?limit=100"),
    )


def marks():
    at = "/dags/days2/dagRuns"
    patch = lambda run_id, task, query="", **body: ("PATCH", f"{at}/{run_id}/taskInstances/{task}{query}", body)  # noqa: E731
    yield from (
        patch("r1", "none", new_state="failed"), patch("none", "a", new_state="failed"), patch("m", "last", new_state="failed"), patch("r1", "mapped/7", new_state="failed"),
        patch("r1", "mapped/x", new_state="failed"), ("PATCH", "/dags/none/dagRuns/r1/taskInstances/a", {"new_state": "failed"}), patch("r1", "a", new_state=None),
        patch("r1", "a", new_state="queued"), patch("r1", "a", note="x" * 1001), patch("r1", "a", note=5), patch("r1", "a", colour="red"), patch("r1", "a"),
        patch("r1", "a", new_state="success"), patch("r1", "a", new_state="success", note="lost"), ("GET", f"{at}/r1/taskInstances/a"),
    )
    # What would be.
    for query, body in (
        ("a/dry_run", {"new_state": "failed"}), ("a/dry_run", {"new_state": "success"}), ("a/dry_run", {}), ("mapped/dry_run", {"new_state": "failed"}),
        ("mapped/1/dry_run", {"new_state": "skipped"}), ("mapped/1/dry_run", {"new_state": "failed", "include_upstream": True}),
        ("c/dry_run", {"new_state": "failed", "include_downstream": True}), ("a/dry_run", {"new_state": "failed", "include_downstream": True}),
        ("a/dry_run", {"new_state": "failed", "include_future": True}), ("a/dry_run", {"new_state": "failed", "include_past": True}),
        ("none/dry_run", {"new_state": "failed"}), ("a/dry_run", {"new_state": "x"}),
    ):
        yield patch("r1", query, **body)
    yield patch("r2", "a/dry_run", new_state="failed", include_past=True, include_future=True)
    yield patch("m", "a/dry_run", new_state="success", include_past=True, include_future=True)
    # And now it is.
    yield from (
        patch("r1", "a", note="why"), patch("r1", "a", note=None), patch("r1", "a", "?update_mask=new_state", note="not taken"),
        patch("r1", "a", "?update_mask=note", new_state="failed", note="taken"), patch("r1", "mapped", note="all"), patch("r1", "mapped/1", note="one"),
        ("GET", f"{at}/r1/taskInstances?limit=100"), patch("r1", "a", "?update_mask=note", note=None), patch("r1", "mapped", note=""),
        patch("r1", "b", new_state="SKIPPED", note="skipped"), patch("r1", "b", new_state="skipped"), ("GET", f"{at}/r1"),
        patch("r2", "c", new_state="success"), ("GET", f"{at}/r2"), ("GET", f"{at}/r2/taskInstances?limit=100"), ("GET", f"{at}/r2/taskInstances/c/tries"),
        ("GET", f"{at}/r2/taskInstances/last/tries"), patch("r3", "mapped", new_state="success", include_upstream=True), ("GET", f"{at}/r3/taskInstances?limit=100"), ("GET", f"{at}/r3"),
        patch("r2", "a", new_state="skipped", include_past=True, include_future=True),
        *(("GET", f"{at}/{run_id}/taskInstances?limit=100") for run_id in ("r1", "r2", "r3", "m")), patch("m", "a", new_state="success", include_future=True),
        ("GET", f"{at}/m/taskInstances?limit=100"), ("GET", f"{at}/m"),
    )


def backfills():
    make = lambda dag_id, first, last, **more: ("POST", "/backfills", {"dag_id": dag_id, "from_date": first, "to_date": last, **more})  # noqa: E731
    dry = lambda *args, **more: ("POST", "/backfills/dry_run", make(*args, **more)[2])  # noqa: E731
    day = "2026-01-{:02}T00:00:00Z".format
    dag = "days3"
    for how in (dry, make):
        yield from (
            how("none", day(1), day(2)), how("unscheduled", day(1), day(2)), how("once", day(1), day(2)), how("picky", day(1), day(2)), how("past", day(1), day(2)),
            how("past", day(1), day(2), run_backwards=True, reprocess_behavior="failed"), how(dag, day(2), day(1)), how(dag, "2199-01-01T00:00:00Z", "2199-01-02T00:00:00Z"),
            how(dag, "someday", 5), how(dag, day(1), day(2), reprocess_behavior="all", max_active_runs="x", colour="red"), how("choosy", day(1), day(2), dag_run_conf={"count": "x"}),
            how(dag, "2026-01-04T01:00:00Z", "2026-01-04T02:00:00Z"), ("POST", "/backfills" + ("/dry_run" if how is dry else ""), {}),
        )
    yield from (
        dry(dag, day(1), day(6)), dry(dag, day(1), day(6), run_backwards=True), dry(dag, day(1), day(6), reprocess_behavior="failed"),
        dry(dag, day(1), day(6), reprocess_behavior="completed"), dry(dag, "2026-01-01", "2026-01-05T12:00:00+05:00"), dry("past", day(1), day(3), reprocess_behavior="failed"),
        dry("choosy", day(1), day(2), dag_run_conf={"count": 5}), dry("hourly", day(1), "2026-01-01T04:00:00Z"),
        ("GET", "/backfills"), ("GET", f"/backfills?dag_id={dag}"), ("GET", "/backfills/1"), ("GET", "/backfills/x"), ("GET", "/backfills/-1"), ("PUT", "/backfills/1/pause"),
        make(dag, "2026-01-01T00:00:00+00:00", "2026-01-06T02:00:00+02:00", reprocess_behavior="failed", max_active_runs=2, dag_run_conf={"k": 2}),
        make(dag, day(1), day(6)), ("GET", f"/backfills?dag_id={dag}"), ("GET", "/backfills/1"), ("GET", f"/dags/{dag}/dagRuns?order_by=id"),
        ("GET", f"/dags/{dag}/dagRuns/r2/taskInstances?limit=100"), ("GET", f"/dags/{dag}/dagRuns/backfill__2026-01-05T00:00:00+00:00/taskInstances?limit=100"),
        ("PUT", "/backfills/1/pause"), ("PUT", "/backfills/1/pause"), ("PUT", "/backfills/1/unpause"), ("PUT", "/backfills/7/unpause"), ("PUT", "/backfills/x/cancel"),
        ("PUT", "/backfills/1/cancel"), ("PUT", "/backfills/1/cancel"), ("PUT", "/backfills/1/pause"), ("PUT", "/backfills/1/unpause"), ("GET", "/backfills/1"),
        ("GET", f"/dags/{dag}/dagRuns?order_by=id"), make("hourly", day(1), "2026-01-01T02:00:00Z", run_backwards=True), ("GET", "/dags/hourly/dagRuns?order_by=id"),
        ("GET", "/backfills?dag_id=hourly&order_by=-id&limit=1"), ("GET", "/backfills?dag_id=hourly&order_by=dag_id"),
    )


def groups():
    at = "/dags/days4/dagRuns"
    patch = lambda run_id, group, query="", **body: ("PATCH", f"{at}/{run_id}/taskGroupInstances/{group}{query}", body)  # noqa: E731
    yield from (
        patch("r1", "none", new_state="failed"), patch("none", "group", new_state="failed"), patch("m", "group", new_state="failed"), ("PATCH", "/dags/none/dagRuns/r1/taskGroupInstances/group", {}),
        patch("r1", "group", new_state=None), patch("r1", "group", new_state="queued"), patch("r1", "group", note="x" * 1001), patch("r1", "group", colour="red"), patch("r1", "group"),
        patch("r1", "group.x", new_state="failed"), patch("r1", "group", new_state="success"), patch("r1", "none", "/dry_run", new_state="failed"), patch("none", "group", "/dry_run"),
    )
    for body in (
        {}, {"new_state": "failed"}, {"new_state": "success"}, {"new_state": "failed", "include_upstream": True}, {"new_state": "failed", "include_downstream": True},
        {"new_state": "failed", "include_future": True}, {"new_state": "failed", "include_past": True}, {"new_state": "x"}, {"note": 5},
    ):
        yield patch("r1", "group", "/dry_run", **body)
    yield patch("r2", "group", "/dry_run", new_state="skipped", include_past=True, include_future=True)
    yield from (
        patch("r1", "group", note="why"), patch("r1", "group", "?update_mask=new_state", note="not taken"), patch("r1", "group", note=""), patch("r1", "group", new_state="failed", note="both"),
        patch("r1", "group", new_state="failed"), ("GET", f"{at}/r1/taskInstances?limit=100"), ("GET", f"{at}/r1"), patch("r2", "group", new_state="success"),
        ("GET", f"{at}/r2/taskInstances?limit=100"), ("GET", f"{at}/r2"), patch("r2", "group", new_state="skipped", include_past=True, include_future=True),
        *(("GET", f"{at}/{run_id}/taskInstances?limit=100") for run_id in ("r1", "r2", "r3", "m")),
    )


def bulk_task_instances():
    at = "/dags/days5/dagRuns"
    bulk = lambda run_id, *actions: ("PATCH", f"{at}/{run_id}/taskInstances", {"actions": list(actions)})  # noqa: E731
    update = lambda *entities, **more: {"action": "update", "entities": list(entities), **more}  # noqa: E731
    delete = lambda *entities, **more: {"action": "delete", "entities": list(entities), **more}  # noqa: E731
    skip = {"action_on_non_existence": "skip"}
    failed = {"new_state": "failed"}
    yield from (
        bulk("r1"), bulk("r1", {"action": "create", "entities": [{"task_id": "a"}]}), bulk("r1", update()), bulk("r1", update("a")), bulk("r1", update({})), bulk("r1", update({"task_id": "a", "colour": 1})),
        bulk("r1", update({"task_id": "a", "new_state": None})), bulk("r1", update({"task_id": "a", "map_index": "x", "new_state": "queued"})), bulk("r1", {"action": "x", "entities": []}),
        bulk("r1", update({"task_id": "none", **failed})), bulk("r1", update({"task_id": "none", **failed}, **skip)), bulk("r1", update({"task_id": "a", "map_index": 3, **failed})),
        bulk("r1", update({"task_id": "a", "map_index": 3, **failed}, **skip)), bulk("r1", update({"task_id": "a", "new_state": "success"})), bulk("none", update({"task_id": "a", **failed})),
        bulk("r1", update({"task_id": "a", "dag_id": "none", **failed})), bulk("~", update({"task_id": "a", **failed})), ("PATCH", "/dags/~/dagRuns/~/taskInstances", {"actions": [update({"task_id": "a"})]}),
        ("PATCH", "/dags/~/dagRuns/~/taskInstances", {"actions": [update({"task_id": "a", "dag_id": "days5", "dag_run_id": "r1", "note": "from afar"})]}),
        bulk("r1", update({"task_id": "a"})), bulk("r1", update({"task_id": "a", "note": "why"}, update_mask=["new_state"])), bulk("r1", update({"task_id": "a", "note": None}, update_mask=["note"])),
        bulk("r1", update({"task_id": "a", "note": "", **failed}, update_mask=["note"])), bulk("r1", update({"task_id": "b", "note": "said", **failed})),
        bulk("r1", update({"task_id": "mapped", "map_index": 1, **failed})),
        ("GET", f"{at}/r1/taskInstances?limit=100"), bulk("r2", update({"task_id": "c", "new_state": "success"}), update({"task_id": "c", "new_state": "success"})),
        bulk("r2", update({"task_id": "a", "dag_run_id": "r1", "new_state": "skipped", "include_future": True, "map_index": -1})), ("GET", f"{at}/r2/taskInstances?limit=100"), ("GET", f"{at}/r3/taskInstances?limit=100"),
        bulk("r2", delete("none")), bulk("r2", delete("none", **skip)), bulk("r2", delete({"task_id": "mapped", "map_index": 7})), bulk("r2", delete({"task_id": "mapped", "map_index": 7}, **skip)),
        ("PATCH", "/dags/~/dagRuns/~/taskInstances", {"actions": [delete("a", {"task_id": "a"})]}), bulk("m", delete(5)), bulk("m", delete("a", {"task_id": "b", "map_index": -1})),
        ("DELETE", f"{at}/m/taskInstances/a"), ("DELETE", f"{at}/m/taskInstances/setup?map_index=x"), ("DELETE", f"{at}/m/taskInstances/setup?map_index=3"), ("DELETE", f"{at}/m/taskInstances/setup"),
        ("GET", f"{at}/m/taskInstances?limit=100"), ("GET", f"{at}/m"),
    )


def bulk_runs():
    at = "/dags/days6/dagRuns"
    bulk = lambda *actions: ("PATCH", at, {"actions": list(actions)})  # noqa: E731
    update = lambda *entities, **more: {"action": "update", "entities": list(entities), **more}  # noqa: E731
    delete = lambda *entities, **more: {"action": "delete", "entities": list(entities), **more}  # noqa: E731
    run = lambda run_id, **more: {"dag_run_id": run_id, **more}  # noqa: E731
    skip = {"action_on_non_existence": "skip"}
    anywhere = lambda *actions: ("PATCH", "/dags/~/dagRuns", {"actions": list(actions)})  # noqa: E731
    yield from (
        bulk(), ("PATCH", at, {}), bulk({"action": "create", "entities": [run("r1")]}), bulk(update()), bulk(update("r1")), bulk(update({})), bulk(update(run("r1", state="running"))),
        bulk(update(run("r1", note="x" * 1001), run("r2", colour="red"))), bulk(update(run("none", state="failed"))), bulk(update(run("none", state="failed"), run("r1", note="n")), delete("none")),
        bulk(update(run("none", state="failed"), run("also none")), delete("none", run("r9"))), bulk(update(run("none", state="failed"), run("r1", note="n"), **skip)),
        bulk(update(run("r1"))), bulk(update(run("r1", note="", dag_id="days6"), run("r2", state="success", note="fine"), run("r3", state="failed"), run("m", state="queued"))),
        bulk(update(run("r1", state="failed"), update_mask=["note"])), anywhere(update(run("r1", note="x"))), anywhere(update(run("r1", note="afar", dag_id="days6"))), anywhere(delete("r1")),
        anywhere(delete(run("~", dag_id="days6"))), bulk(update(run("r1", dag_id="none", note="x"))), ("GET", f"{at}?order_by=id"), *(("GET", f"{at}/{run_id}/taskInstances?limit=100") for run_id in ("r2", "r3", "m")),
        bulk(delete(5)), bulk(delete("r2", run("r1"), "r2")), bulk(delete("r1", **skip), update(run("r3", note="last"))), ("GET", f"{at}?order_by=id"),
    )


def clear_runs():
    at = "/dags/days7"
    clear = lambda *runs, **body: ("POST", f"{at}/clearDagRuns", {"dag_runs": [run if isinstance(run, dict) else {"dag_run_id": run} for run in runs], **body})  # noqa: E731
    anywhere = lambda *runs, **body: ("POST", "/dags/~/clearDagRuns", clear(*runs, **body)[2])  # noqa: E731
    now = {"dry_run": False}
    yield from (
        ("POST", f"{at}/clearDagRuns", {}), clear(), clear("none"), clear("r1", "none", **now), clear("r1", only_new=True, only_failed=True), clear("r1", colour="red"), clear({"dag_run_id": 5, "note": 5}),
        clear("r1", note="x" * 1001), clear("r1", partition_key="k"), clear(partition_date_start="2026-01-02T00:00:00Z", partition_date_end="2026-01-01T00:00:00Z"), clear(partition_key="k"),
        clear(partition_date_start="2026-01-01T00:00:00Z"), anywhere(partition_key="k"), anywhere("r1"), anywhere({"dag_run_id": "r1", "dag_id": "days7"}), clear({"dag_run_id": "r1", "dag_id": "days6"}),
        ("POST", "/dags/none/clearDagRuns", {"dag_runs": [{"dag_run_id": "r1"}]}), clear("r1", "r2", "r1"), clear("r2", only_failed=True), clear("r1", "m", only_new=True), clear(partition_key="k", **now),
        clear("r2", "m", only_failed=True, note="again", **now), clear("r1", "r2", note="", **now), *(("GET", f"{at}/dagRuns/{run_id}/taskInstances?limit=100") for run_id in ("r1", "r2", "m")),
        ("GET", f"{at}/dagRuns?order_by=id"),
    )


SCENARIOS = {
    "groups": list(groups()),
    "bulk_task_instances": list(bulk_task_instances()),
    "bulk_runs": list(bulk_runs()),
    "clear_runs": list(clear_runs()),
    "backfills": list(backfills()),
    "marks": list(marks()),
    "clears": list(clears()),
}
