"""A small pipeline: shell and Python tasks, values passed on, a branch, and a task that always comes last."""

from datetime import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag, task


@dag(dag_id="hello_updraft", start_date=datetime(2026, 1, 1), schedule="@daily", catchup=False, tags=["example"])
def hello_updraft():
    measure = BashOperator(
        task_id="measure",
        bash_command="ls -1 /usr/bin | wc -l",
    )

    @task
    def judge(programs: str) -> dict:
        count = int(programs)
        print(f"There are {count} programs in /usr/bin")
        return {"programs": count, "many": count > 100}

    @task.branch
    def choose(verdict: dict) -> str:
        return "celebrate" if verdict["many"] else "shrug"

    celebrate = BashOperator(task_id="celebrate", bash_command="echo 'So many programs, {{ ds or run_id }}'")
    shrug = BashOperator(task_id="shrug", bash_command="echo 'A tidy machine'")
    done = EmptyOperator(task_id="done", trigger_rule="none_failed_min_one_success")

    choose(judge(measure.output)) >> [celebrate, shrug] >> done


hello_updraft()
