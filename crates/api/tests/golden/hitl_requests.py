"""The requests that `record_hitl.py` sends to Airflow and `tests/hitl.rs` replays here, in order.

The recording is made on SQLite. What PostgreSQL answers otherwise is left out: where missing values stand in an order, and
`\\` in patterns; and so is the filter by a user's name, which on Airflow 3.3.2 compares the id once that was asked for.
"""


def of(dag_id, task, map_index=-1, run_id="r1"):
    return f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/{map_index}/hitlDetails"


def reads():
    at = "/dags/asking/dagRuns/r1/hitlDetails"
    for task in ("open", "assigned", "several", "answered", "again", "deferred", "never", "none"):
        yield ("GET", of("asking", task))
    yield from (
        ("GET", of("asking", "each", 0)), ("GET", of("asking", "each", 1)), ("GET", of("asking", "each")), ("GET", of("asking", "each", "x")),
        ("GET", of("asking", "late", run_id="r2")), ("GET", of("none", "open")), ("GET", of("asking", "open", run_id="none")),
    )
    for task, number in (("again", 1), ("again", 2), ("again", 3), ("open", 1), ("open", 0), ("open", "x"), ("answered", 1), ("never", 1)):
        yield ("GET", of("asking", task) + f"/tries/{number}")
    # Lists.
    yield from (("GET", path) for path in (
        at, "/dags/asking/dagRuns/~/hitlDetails", "/dags/~/dagRuns/~/hitlDetails?limit=3&order_by=dag_id&order_by=created_at", "/dags/~/dagRuns/r2/hitlDetails?order_by=dag_id",
        "/dags/none/dagRuns/~/hitlDetails", "/dags/asking/dagRuns/none/hitlDetails",
    ))
    for query in (
        "response_received=true", "response_received=false", "response_received=", "response_received=x", "state=deferred", "state=success&state=failed", "state=none", "state=x",
        "task_id=open", "task_id=", "task_id_pattern=e", "task_id_pattern=~", "task_id_prefix_pattern=a", "task_id_prefix_pattern=a|o", "map_index=1", "map_index=-1", "map_index=x",
        "subject_search=which", "subject_search=Which_", "subject_search=o", "body_search=read", "body_search=~",
        "responded_by_user_id=1", "responded_by_user_id=1&responded_by_user_id=2", "responded_by_user_name=bob",
        "dag_id_pattern=ask", "dag_id_pattern=none", "dag_id_prefix_pattern=as", "created_at_gte=2026-01-01T00:06:00Z", "created_at_gt=2026-01-01T00:06:00Z",
        "created_at_lte=2026-01-01T00:02:00Z", "created_at_lt=2026-01-01T00:02:00Z", "created_at_gte=x", "limit=2", "limit=2&offset=2", "limit=-1", "offset=100",
    ):
        yield ("GET", f"{at}?{query}{'&' if query else ''}order_by=created_at&order_by=rendered_map_index")
    for order in (
        "subject", "-subject", "created_at", "-created_at", "dag_id", "run_id", "run_after",
        "task_display_name", "-task_display_name", "task_instance_operator", "task_instance_state", "rendered_map_index", "ti_id", "body", "chosen_options", "id", "",
    ):
        yield ("GET", f"{at}?order_by={order}&order_by=created_at&order_by=subject")


def answers():
    """The Dag is paused: what goes on waits for its slot."""
    answer = lambda task, body, **more: ("PATCH", of("changing", task, **more), body)  # noqa: E731
    chosen = lambda *options, **more: {"chosen_options": list(options), **more}  # noqa: E731
    yield from (
        answer("open", {}), answer("open", {"chosen_options": None}), answer("open", {"chosen_options": []}), answer("open", {"chosen_options": "yes"}),
        answer("open", {"chosen_options": [1, "yes", None]}), answer("open", chosen("yes", params_input=None)), answer("open", chosen("yes", params_input=[])),
        answer("open", chosen(), map_index="x"), answer("open", b"{"), answer("open", []), answer("open", None),
        answer("open", chosen("perhaps", "no", "Yes")), answer("open", chosen("yes", "no")), answer("open", chosen("it's")), answer("none", chosen("yes")), answer("never", chosen("yes")),
        answer("answered", chosen("yes")), answer("answered", chosen("perhaps")), answer("each", chosen("a")), answer("each", chosen("a"), map_index=1),
        answer("open", chosen("yes"), run_id="none"),
        # And now they are.
        answer("open", chosen("yes", more=1)), answer("open", chosen("yes")), answer("assigned", chosen("no", params_input={"n": [1, {"x": None}], "plain": "ü"})),
        answer("several", chosen("c", "a", "c")), answer("again", chosen("yes")), answer("deferred", chosen("no")), answer("each", chosen("b"), map_index=0),
        answer("late", chosen("yes"), run_id="r2"), answer("late", chosen("no"), run_id="r2"),
    )
    for task, more in (("open", {}), ("assigned", {}), ("several", {}), ("again", {}), ("each", {"map_index": 0}), ("late", {"run_id": "r2"})):
        yield ("GET", of("changing", task, **more))
    yield ("GET", of("changing", "again") + "/tries/1")
    yield ("GET", "/dags/changing/dagRuns/~/hitlDetails?response_received=true&responded_by_user_id=anonymous&order_by=created_at")
    yield ("GET", "/dags/changing/dagRuns/~/hitlDetails?response_received=false")


SCENARIOS = {name: list(requests()) for name, requests in (("reads", reads), ("answers", answers))}
