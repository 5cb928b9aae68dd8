"""What `include_prior_dates` means, through the Task SDK. Each run says in its conf what it must see of those before it."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task
from airflow.sdk.bases.xcom import BaseXCom

PRIOR = {"include_prior_dates": True}


with DAG("prior_dates"):

    @task
    def look(ti=None, dag_run=None):
        want = dag_run.conf
        # One entry: the newest of the runs that are not after this one.
        assert ti.xcom_pull(task_ids="name", map_indexes=-1, **PRIOR) == want["last"], ti.run_id
        assert ti.xcom_pull(task_ids="name", map_indexes=-1, key="only_first", **PRIOR) == want["only_first"]
        assert ti.xcom_pull(task_ids="items", map_indexes=1, **PRIOR) == want["item"]
        assert ti.xcom_pull(task_ids="name", map_indexes=-1, key="nothing", default="none", **PRIOR) == "none"
        assert BaseXCom.get_one(
            key="return_value", task_id="name", dag_id="prior_dates", run_id=ti.run_id, map_index=-1, **PRIOR
        ) == want["last"]
        # Every entry, when nobody says which instance: what the runs left, and a single one by itself.
        every = BaseXCom.get_all(key="return_value", task_id="name", dag_id="prior_dates", run_id=ti.run_id, **PRIOR)
        assert sorted(every or []) == want["all"], every
        pulled = ti.xcom_pull(task_ids="name", **PRIOR)
        if len(want["all"]) == 1:
            assert pulled == want["all"][0], pulled
        elif want["all"]:
            assert sorted(pulled) == want["all"], pulled
        items = BaseXCom.get_all(key="return_value", task_id="items", dag_id="prior_dates", run_id=ti.run_id, **PRIOR)
        # By the index of the instance, whatever run it is of.
        assert list(items or []) == [0] * len(want["all"]) + [1] * len(want["all"]), items
        # Without it there is nothing, as nothing was pushed in this run.
        assert ti.xcom_pull(task_ids="name", map_indexes=-1) is None
        # What another run sees.
        if want["other"]:
            run_id, seen = want["other"]
            assert ti.xcom_pull(task_ids="name", map_indexes=-1, run_id=run_id, **PRIOR) == seen

    @task
    def name(ti=None, dag_run=None):
        if dag_run.conf["is_first"]:
            ti.xcom_push("only_first", dag_run.run_id)
        return dag_run.run_id

    @task
    def items(number):
        return number

    rendered = BashOperator(
        task_id="rendered",
        bash_command="echo {{ ti.xcom_pull(task_ids='name', map_indexes=-1, include_prior_dates=True) }}",
    )
    look() >> rendered >> [name(), items.expand(number=[0, 1])]
