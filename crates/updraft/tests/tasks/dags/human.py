"""Tasks that ask people."""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import (
    ApprovalOperator,
    HITLBranchOperator,
    HITLEntryOperator,
    HITLOperator,
)
from airflow.providers.standard.triggers.hitl import HITLTrigger
from airflow.sdk import DAG, Param, task
from airflow.sdk.execution_time.hitl import upsert_hitl_detail
from airflow.sdk.timezone import utcnow


class Picky(HITLOperator):
    """Takes no bad answer: it fails, and asks again."""

    def execute_complete(self, context, event):
        told = super().execute_complete(context, event)
        if told["chosen_options"] == ["bad"]:
            raise ValueError("that was a bad answer")
        return told


class OldStyle(HITLOperator):
    """Waits for a trigger that looks for the answer, as before Airflow 3.3."""

    def execute(self, context):
        ti_id = context["task_instance"].id
        upsert_hitl_detail(
            ti_id=ti_id,
            options=self.options,
            subject=self.subject,
            body=self.body,
            defaults=self.defaults,
            multiple=self.multiple,
            params=self.serialized_params,
            assigned_users=self.assigned_users,
        )
        self.defer(
            trigger=HITLTrigger(
                ti_id=ti_id,
                options=self.options,
                defaults=self.defaults,
                params=self.serialized_params,
                multiple=self.multiple,
                timeout_datetime=utcnow() + self.response_timeout if self.response_timeout else None,
                poke_interval=0.1,
            ),
            method_name="execute_complete",
        )


def nothing():
    pass


with DAG("human"):
    form = HITLEntryOperator(
        task_id="form",
        subject="What about {{ dag.dag_id }}?",
        params={"number": Param(3, type="integer"), "text": "plain"},
    )

    @task
    def read(answer):
        print("number:", answer["params_input"]["number"] + 1, "by", answer["responded_by_user"]["name"])

    read(form.output)
    ApprovalOperator(task_id="approve", subject="May it?", body="# Read this") >> task(task_id="approved")(nothing)()
    Picky(task_id="picky", subject="Which?", options=["good", "bad"], retries=1, retry_delay=timedelta(0))
    HITLOperator(task_id="many", subject="Which ones?", options=["a", "b", "c"], multiple=True)
    HITLBranchOperator(
        task_id="branch", subject="Where to?", options=["to the left", "right"], options_mapping={"to the left": "left"}
    ) >> [task(task_id=name)(nothing)() for name in ("left", "right")]
    HITLEntryOperator.partial(task_id="each").expand(subject=["one", "two"])
    soon = timedelta(seconds=1)
    HITLOperator(
        task_id="default",
        subject="Now?",
        options=["yes", "no"],
        defaults="no",
        response_timeout=soon,
        params={"number": Param(3, type="integer")},
    )
    HITLOperator(task_id="no_default", subject="Now?", options=["yes", "no"], response_timeout=soon)
    OldStyle(task_id="old_answered", subject="Old?", options=["yes", "no"])
    OldStyle(task_id="old_default", subject="Old?", options=["yes", "no"], defaults="no", response_timeout=soon)
