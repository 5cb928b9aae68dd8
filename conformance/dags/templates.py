"""Jinja in every place that takes it. The variables and connections are in README.md."""

from __future__ import annotations

import datetime
import pathlib

import jinja2
from shared_helpers import START, double

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, BaseOperator, task


def dag(name, **options):
    return DAG(f"templates_{name}", schedule=None, start_date=START, tags=["own", "templates"], **options)


def echo(name, text, **options):
    """Prints a template; every apostrophe in it is the template's."""
    return BashOperator(task_id=name, bash_command=f"cat <<'END_OF_TEXT'\n{text}\nEND_OF_TEXT", **options)


with dag("null_date"):
    # A run that a person starts without a date has neither dates nor an interval, and no names for them.
    for name in (
        "ds ds_nodash ts ts_nodash ts_nodash_with_tz logical_date data_interval_start data_interval_end "
        "prev_data_interval_start_success prev_data_interval_end_success prev_start_date_success "
        "prev_end_date_success prev_ds next_ds execution_date yesterday_ds tomorrow_ds task_reschedule_count "
        "run_id ti task_instance dag dag_run task params var conn macros conf inlets outlets expanded_ti_count "
        "task_instance_key_str templates_dict exception test_mode triggering_asset_events map_index_template"
    ).split():
        echo(name, "{{ " + name + " is defined }}")
    echo("interval", "[{{ data_interval_start }}] [{{ logical_date }}]")
    echo("ds_fails", "{{ ds }}")
    echo("prev", "[{{ prev_start_date_success }}] [{{ prev_data_interval_start_success }}]")

with dag("objects", default_args={"owner": "eve"}, description="of the Dag"):
    echo("ti", "{{ ti.task_id }} {{ ti.dag_id }} {{ ti.try_number }} {{ ti.map_index }} {{ ti.max_tries }}")
    echo("task_instance", "{{ task_instance.task_id == ti.task_id }} {{ ti.run_id == run_id }}")
    echo("task", "{{ task.task_id }} {{ task.owner }} {{ task.retries }} {{ task.trigger_rule }} {{ task.pool }}")
    echo("dag", "{{ dag.dag_id }} {{ dag.description }} {{ dag.tags | sort | join(',') }} {{ dag.catchup }}")
    echo("dag_run", "{{ dag_run.dag_id }} {{ dag_run.run_type }} {{ dag_run.conf }} {{ dag_run.logical_date }}")
    echo("run_id", "{{ run_id.startswith('manual__') }} {{ run_id | length > 20 }}")
    echo("key", "{{ task_instance_key_str.split('__')[:2] | join(' ') }}")
    echo("upstream", "{{ task.upstream_task_ids | sort | join(',') }}").set_upstream(
        [echo("b_above", "{{ task.downstream_task_ids }}"), echo("a_above", "a")]
    )
    echo("state", "{{ dag_run.state }} {{ ti.state }}")
    echo("unknown", "[{{ ti.no_such_attribute }}] [{{ no_such_name }}] [{{ params.nothing }}]")

with dag("macros"):
    echo("ds_add", "{{ macros.ds_add('2024-02-28', 2) }} {{ macros.ds_add('2024-01-01', -1) }}")
    echo("ds_format", "{{ macros.ds_format('2024-02-29', '%Y-%m-%d', '%d.%m.%y') }}")
    echo("datetime", "{{ macros.datetime(2024, 2, 29) + macros.timedelta(days=1) }}")
    echo("dateutil", "{{ macros.dateutil.parser.parse('2024-02-29').isoformat() }}")
    echo("time", "{{ macros.time.gmtime(0).tm_year }}")
    echo("uuid", "{{ macros.uuid.UUID(int=5) }}")
    echo("random", "{{ 0 <= macros.random() < 1 }}")
    echo("json", "{{ macros.json.dumps({'a': [1, None]}) }}")
    echo("human", "{{ macros.datetime_diff_for_humans(dag.start_date, dag.start_date.add(days=3)) }}")
    echo("ds_format_locale", "{{ macros.ds_format_locale('12/07/2024', '%d/%m/%Y', 'EEEE dd MMMM yyyy', 'en_US') }}")

with dag("filters"):
    moment = "macros.datetime(2024, 2, 29, 13, 14, 15)"
    for name in "ds ds_nodash ts ts_nodash ts_nodash_with_tz".split():
        echo(name, "{{ " + moment + " | " + name + " }}")
    echo("on_zoned", "{{ (" + moment + ").replace(tzinfo=macros.dateutil.tz.UTC) | ts }}")
    echo("jinja", "{{ 'a b' | title }} {{ [3, 1] | sort }} {{ 1.267 | round(1) }} {{ none | default('d', true) }}")
    echo("strings", "{{ 'äb' | upper }}-{{ 'x' * 3 }}-{{ '%05d' | format(42) }}-{{ 'a,b'.split(',')[1] }}")
    echo("json", "{{ {'b': 1, 'a': '<ü>'} | tojson }}")
    echo("escapes", "{{ '<b>&\"' }} {{ '<b>' | e }}")
    echo("undefined", "[{{ nothing }}] [{{ nothing | default('else') }}]")

with dag("control"):
    echo(
        "loops",
        "{% set total = namespace(value=0) %}{% for n in range(5) if n is odd %}{{ loop.index }}:{{ n }} "
        "{% set total.value = total.value + n %}{% else %}none{% endfor %}{{ total.value }}",
    )
    echo("conditions", "{% if 1 in [1] and not 0 %}yes{% elif true %}no{% else %}never{% endif %} {{ 'a' if 0 else 'b' }}")
    echo("macro", "{% macro twice(x, y=2) -%} {{ x * y }} {%- endmacro %}{{ twice(3) }} {{ twice('ab', y=3) }}")
    echo("whitespace", "a  {%- set x = 1 -%}  b\n\n{# a comment #}\n  {{ x }}\n{%- raw %} {{ raw }} {% endraw -%} end")
    echo("filter_block", "{% filter upper %}shout{% endfilter %} {% with a = 1 %}{{ a }}{% endwith %}")
    echo("arithmetic", "{{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 10 }} {{ 7 / 2 }} {{ -3 | abs }} {{ 'a' ~ 1 ~ none }}")
    echo("slices", "{{ 'abcdef'[1:4] }} {{ [1, 2, 3][::-1] }} {{ {'k': 'v'}.items() | list }} {{ (1, 2)[0] }}")
    echo("python", "{{ 'x'.join(['a', 'b']) }} {{ [1, 2] + [3] }} {{ 'abc'.replace('b', '') }} {{ {'a': 1}.get('b', 9) }}")
    echo("trailing_newline", "one\n")
    echo("bash_braces", "${#array[@]} ${name:-x} {a,b}")

with dag("variables"):
    echo("value", "{{ var.value.own_text }}")
    echo("json", "{{ var.json.own_json.list[1] }} {{ var.json.own_json['name'] }}")
    echo("get", "{{ var.value.get('own_missing', 'fallback') }} {{ var.json.get('own_missing', {'a': 1}) }}")
    echo("missing", "{{ var.value.own_missing }}")
    echo("not_json", "{{ var.json.own_text }}")
    echo("connection", "{{ conn.own_http.host }} {{ conn.own_http.port }} {{ conn.own_http.login }}")
    echo("connection_extra", "{{ conn.own_http.extra_dejson.flag }} {{ conn.own_http.conn_type }} {{ conn.own_http.schema }}")
    echo("connection_get", "{{ conn.get('own_missing', {'host': 'fallback'}).host }}")
    echo("connection_missing", "{{ conn.own_missing.host }}")

    @task
    def from_python():
        from airflow.sdk import Connection, Variable

        return {
            "text": Variable.get("own_text"),
            "json": Variable.get("own_json", deserialize_json=True),
            "default": Variable.get("own_missing", default=5),
            "host": Connection.get("own_http").host,
        }

    @task
    def set_and_get():
        from airflow.sdk import Variable

        Variable.set("own_set", {"a": 1}, serialize_json=True)
        got = Variable.get("own_set", deserialize_json=True)
        Variable.delete("own_set")
        return [got, Variable.get("own_set", default="gone")]

    @task
    def missing_variable():
        from airflow.sdk import Variable

        return Variable.get("own_missing")

    from_python()
    set_and_get()
    missing_variable()

with dag(
    "user_defined",
    user_defined_macros={"twice": double, "constant": 42, "nested": {"key": "value"}},
    user_defined_filters={"shout": lambda text: text.upper() + "!"},
):
    echo("macros", "{{ twice(4) }} {{ constant }} {{ nested.key }}")
    echo("filters", "{{ 'hello' | shout }}")
    PythonOperator(task_id="python", python_callable=lambda x: x, op_args=["{{ twice(constant) }}"])

with dag("native", render_template_as_native_obj=True):
    PythonOperator(
        task_id="values",
        python_callable=lambda *values: [[type(value).__name__, value] for value in values],
        op_args=["{{ 1 + 1 }}", "{{ [1, 2] }}", "{{ {'a': none} }}", "text {{ 1 }}", "{{ '007' }}", "{{ true }}", "1.50"],
    )
    PythonOperator(task_id="list", python_callable=lambda: [1, {"a": 2}]) >> PythonOperator(
        task_id="pulled",
        python_callable=lambda value: [type(value).__name__, value],
        op_args=["{{ ti.xcom_pull(task_ids='list') }}"],
    )
    echo("bash", "{{ 5 }} and {{ [1] }}")

with dag(
    "files",
    template_searchpath=str(pathlib.Path(__file__).parent / "templates"),
    params={"name": "Ada"},
    jinja_environment_kwargs={"keep_trailing_newline": True},
):
    BashOperator(task_id="script", bash_command="greet.sh")
    BashOperator(task_id="bash_script", bash_command="raw.bash")
    BashOperator(task_id="not_a_file", bash_command="echo greet.sh ")
    BashOperator(task_id="missing", bash_command="missing.sh")
    PythonOperator(
        task_id="templates_dict",
        python_callable=lambda templates_dict: {key: value.strip() for key, value in templates_dict.items()},
        templates_dict={"file": "part.sh", "text": "{{ params.name }}", "other": "part.txt"},
        templates_exts=[".sh"],
    )

with dag("next_to_the_file", params={"name": "Bob"}):
    # Without a search path, files are looked for beside the Dag's own.
    BashOperator(task_id="script", bash_command="templates/part.sh")

with dag("strict", template_undefined=jinja2.StrictUndefined):
    echo("undefined", "{{ nothing }}")
    echo("defined", "{{ run_id is defined }}")


class Greeter(BaseOperator):
    """Fields of its own, of all shapes."""

    template_fields = ("greeting", "table", "lines")
    template_ext = (".nothing",)

    def __init__(self, *, greeting, table=None, lines=(), **kwargs):
        super().__init__(**kwargs)
        self.greeting, self.table, self.lines = greeting, table, lines
        self.not_templated = "{{ 1 + 1 }}"

    def execute(self, context):
        return [self.greeting, self.table, list(self.lines), self.not_templated]


with dag("own_operator"):
    Greeter(
        task_id="greet",
        greeting="hello {{ ti.task_id }}",
        table={"{{ key }}": ["{{ 1 + 1 }}", {"deep": "{{ task.task_id }}"}], "number": 5},
        lines=("{{ 'a' }}", "b", datetime.date(2024, 1, 1).isoformat()),
    )
