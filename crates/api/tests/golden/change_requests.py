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


SCENARIOS = {
    "backfills": list(backfills()),
    "marks": list(marks()),
    "clears": list(clears()),
}
