"""Every trigger rule over every mix of upstream states, and how results spread further down."""

from __future__ import annotations

from shared_helpers import START, fail, skip

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, TriggerRule

RULES = [
    "all_success",
    "all_failed",
    "all_done",
    "all_done_min_one_success",
    "one_success",
    "one_failed",
    "one_done",
    "none_failed",
    "none_failed_min_one_success",
    "none_skipped",
    "all_skipped",
    "always",
]
MIXES = "s f k u ss ff kk sf sk fk su fu ku sfk sku sfku".split()


def upstream(letter, number):
    """A task that ends as the letter says: success, failed, skipped (k) or upstream_failed."""
    if letter == "s":
        return EmptyOperator(task_id=f"success_{number}")
    if letter == "f":
        return PythonOperator(task_id=f"failed_{number}", python_callable=fail)
    if letter == "k":
        return PythonOperator(task_id=f"skipped_{number}", python_callable=skip)
    after = EmptyOperator(task_id=f"upstream_failed_{number}")
    PythonOperator(task_id=f"root_of_{number}", python_callable=fail) >> after
    return after


for mix in MIXES:
    with DAG(f"rules_{mix}", schedule=None, start_date=START, tags=["own", "rules"]):
        sources = [upstream(letter, number) for number, letter in enumerate(mix)]
        for rule in RULES:
            sources >> EmptyOperator(task_id=rule, trigger_rule=rule)

with DAG("rules_without_upstream", schedule=None, start_date=START, tags=["own", "rules"]):
    for rule in RULES:
        EmptyOperator(task_id=rule, trigger_rule=rule) >> EmptyOperator(task_id=f"after_{rule}")

with DAG("rules_spread", schedule=None, start_date=START, tags=["own", "rules"]):
    skipped = PythonOperator(task_id="skipped", python_callable=skip)
    failed = PythonOperator(task_id="failed", python_callable=fail)
    skipped >> EmptyOperator(task_id="skip_1") >> EmptyOperator(task_id="skip_2") >> EmptyOperator(
        task_id="revived", trigger_rule=TriggerRule.NONE_FAILED
    ) >> EmptyOperator(task_id="lives_on")
    failed >> EmptyOperator(task_id="fail_1") >> EmptyOperator(task_id="fail_2") >> EmptyOperator(
        task_id="mended", trigger_rule=TriggerRule.ALL_DONE
    ) >> EmptyOperator(task_id="mended_too")
    skipped >> EmptyOperator(task_id="no_skip", trigger_rule=TriggerRule.NONE_SKIPPED) >> EmptyOperator(
        task_id="after_no_skip"
    )
    [skipped, failed] >> EmptyOperator(task_id="skip_or_fail") >> EmptyOperator(
        task_id="one_failed", trigger_rule=TriggerRule.ONE_FAILED
    ) >> EmptyOperator(task_id="end")

with DAG("rules_leaf_decides", schedule=None, start_date=START, tags=["own", "rules"]):
    # The run's state comes from its leaves: a failure that a later task forgives leaves no trace.
    PythonOperator(task_id="failed", python_callable=fail) >> EmptyOperator(task_id="leaf", trigger_rule="all_done")

with DAG("rules_all_leaves_skipped", schedule=None, start_date=START, tags=["own", "rules"]):
    PythonOperator(task_id="skipped", python_callable=skip) >> [EmptyOperator(task_id="a"), EmptyOperator(task_id="b")]

with DAG("rules_one_leaf_upstream_failed", schedule=None, start_date=START, tags=["own", "rules"]):
    PythonOperator(task_id="failed", python_callable=fail) >> EmptyOperator(task_id="leaf")
    EmptyOperator(task_id="other_leaf")

with DAG("rules_always_beside_slow", schedule=None, start_date=START, tags=["own", "rules"]):
    # `always` waits for nothing, so it is done while its upstream is still running.
    slow = PythonOperator(task_id="slow", python_callable=lambda: None)
    slow >> EmptyOperator(task_id="always", trigger_rule="always")
