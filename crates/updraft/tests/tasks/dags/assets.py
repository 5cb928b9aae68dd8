"""Assets: who produces them, and who is told."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetAlias, task

a = Asset("a", uri="s3://bucket/a", extra={"kept": True})
b, c, alias = Asset("b"), Asset("c"), AssetAlias("al")

with DAG("a_producer", schedule=None):

    @task(outlets=[a])
    def py(*, outlet_events):
        outlet_events[a].extra = {"rows": 3}

    @task(outlets=[alias])
    def by_alias(*, outlet_events):
        outlet_events[alias].add(Asset("made"), extra={"k": [1, "x"]})

    bash = BashOperator(task_id="bash", bash_command="true", outlets=[b, Asset.ref(name="a")])
    empty = EmptyOperator(task_id="empty", outlets=[c])
    failing = BashOperator(task_id="failing", bash_command="false", outlets=[c], retries=0)
    [py(), by_alias()] >> bash >> failing
    bash >> empty

with DAG("consumer", schedule=[a, b, c, alias]):

    @task(inlets=[a, alias])
    def told(*, triggering_asset_events, inlet_events, dag_run):
        def one(event):
            source = event.source_task_instance
            return [event.asset.name, event.extra, event.source_dag_id, source.task_id, event.source_map_index]

        return {
            "events": sorted((one(event) for of_asset in triggering_asset_events.values() for event in of_asset), key=str),
            "order": [event.asset.name for event in dag_run.consumed_asset_events],
            "inlet": [event.extra for event in inlet_events[a]],
            "alias": [event.extra for event in inlet_events[alias]],
            "run": [dag_run.run_type, str(dag_run.logical_date)],
        }

    template = BashOperator(
        task_id="template", bash_command="echo {{ triggering_asset_events.values() | map('length') | sum }}"
    )
    told() >> template
