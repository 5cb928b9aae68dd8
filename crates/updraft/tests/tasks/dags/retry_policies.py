"""Retry policies of tasks, through the Task SDK."""

import os
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, ExceptionRetryPolicy, RetryAction, RetryDecision, RetryPolicy, RetryRule, task
from airflow.sdk.exceptions import AirflowFailException

HOUR = timedelta(hours=1)
SOON = timedelta(milliseconds=1500)


class ByNumber(RetryPolicy):
    """Waits a little after the first try, and gives up after the second."""

    def evaluate(self, exception, try_number, max_tries, context=None):
        assert max_tries == 9 and context["ti"].try_number == try_number
        if try_number == 1:
            return RetryDecision.retry(delay=SOON, reason=f"saw {exception}")
        return RetryDecision.fail(reason="enough")


class Broken(RetryPolicy):
    def evaluate(self, exception, try_number, max_tries, context=None):
        raise RuntimeError("the policy itself is broken")


RULES = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=PermissionError, action=RetryAction.FAIL, reason="not allowed"),
        RetryRule(exception=["builtins.KeyError", OSError], action=RetryAction.RETRY, retry_delay=timedelta(0)),
        RetryRule(exception="builtins.ArithmeticError", retry_delay=timedelta(0), match_subclasses=False),
    ],
)
NEVER = ExceptionRetryPolicy(rules=[], default=RetryAction.FAIL)

with DAG("retry_policies"):

    @task(retries=9, retry_delay=HOUR, retry_policy=ByNumber())
    def by_number():
        raise ValueError("no luck")

    @task(retries=9, retry_delay=timedelta(0), retry_policy=RULES)
    def fails_at_once():
        raise PermissionError("no")

    @task(retries=1, retry_delay=HOUR, retry_policy=RULES)
    def retries_soon(ti=None):
        if ti.try_number == 1:
            raise FileNotFoundError("a subclass of OSError")

    # Nothing matches: an exact class is asked for, so its own delay counts.
    @task(retries=1, retry_delay=timedelta(0), retry_policy=RULES)
    def by_default(ti=None):
        if ti.try_number == 1:
            raise ZeroDivisionError

    # A policy makes no tries beyond those of the task.
    @task(retries=1, retry_delay=HOUR, retry_policy=RULES)
    def used_up():
        raise KeyError("again")

    @task(retries=1, retry_delay=timedelta(0), retry_policy=Broken())
    def broken_policy(ti=None):
        if ti.try_number == 1:
            raise ValueError

    @task(retries=9, retry_delay=timedelta(0), retry_policy=ByNumber())
    def fails_for_good():
        raise AirflowFailException("the policy is not asked")

    # Nobody is left to ask the policy.
    @task(retries=1, retry_delay=timedelta(0), retry_policy=NEVER)
    def dies(ti=None):
        if ti.try_number == 1:
            os._exit(3)

    @task(retries=9, retry_delay=timedelta(0), retry_policy=NEVER)
    def mapped(number):
        if number:
            raise ValueError

    mapped.expand(number=[0, 1])
    BashOperator(task_id="bash", bash_command="exit 3", retries=9, retry_delay=timedelta(0), retry_policy=NEVER)
    BashOperator.partial(task_id="bashes", retries=9, retry_delay=timedelta(0), retry_policy=NEVER).expand(
        bash_command=["true", "exit 3"]
    )
    for one in (by_number, fails_at_once, retries_soon, by_default, used_up, broken_policy, fails_for_good, dies):
        one()
