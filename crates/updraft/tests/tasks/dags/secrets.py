"""What variables and connections tasks see, and where they come from."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, BaseHook, Variable, task

PARSED = Variable.get("at_parse", default="missing")

with DAG("secrets"):

    @task
    def read():
        names = ["from_backend", "from_env", "from_store"]
        connections = ["conn_backend", "conn_env", "conn_store"]
        values = [Variable.get(name, default="missing") for name in names]
        return [*values, *(BaseHook.get_connection(name).password for name in connections), PARSED]

    read()
    BashOperator(
        task_id="bash",
        bash_command="echo {{ var.value.from_backend }} {{ var.value.from_env }} {{ var.value.from_store }}"
        " {{ conn.conn_backend.login }} {{ conn.conn_env.login }} {{ conn.conn_store.login }}",
    )

with DAG("one_secret"):

    @task
    def read_one():
        return Variable.get("from_store")

    read_one()
    BashOperator(task_id="bash_one", bash_command="echo {{ var.value.from_store }}")
    BashOperator(task_id="other", bash_command="echo undisturbed")
