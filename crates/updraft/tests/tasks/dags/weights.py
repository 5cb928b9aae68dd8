"""Tasks whose weights a plugin gives."""

from datetime import timedelta

from own_weights import ByTry, Hangs, Raises

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("weighed"):
    first = EmptyOperator(task_id="first", weight_rule=ByTry(), priority_weight=2)
    again = BashOperator(
        task_id="again",
        bash_command="test {{ ti.try_number }} -gt 2",
        weight_rule="own_weights.ByTry",
        retries=2,
        retry_delay=timedelta(0),
    )
    each = BashOperator.partial(task_id="each", weight_rule=ByTry()).expand(bash_command=["true", "true"])
    first >> again
    first >> each

with DAG("not_weighed"):
    BashOperator(task_id="raises", bash_command="true", weight_rule=Raises(), priority_weight=3)

with DAG("hardly_weighed"):
    BashOperator(task_id="hangs", bash_command="true", weight_rule=Hangs(), priority_weight=4)
