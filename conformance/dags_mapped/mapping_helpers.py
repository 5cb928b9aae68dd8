"""Imported by several Dag files: what is next to a Dag can be imported."""

from __future__ import annotations

import datetime

from airflow.sdk.exceptions import AirflowSkipException

START = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
NOW = datetime.timedelta(seconds=0)
"""A retry delay that costs no time."""


def fail(message="on purpose"):
    raise ValueError(message)


def skip():
    raise AirflowSkipException("on purpose")


def double(number):
    return 2 * number
