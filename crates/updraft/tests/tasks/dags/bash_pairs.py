"""The same bash tasks twice: run by the engine, and, because of the subclass, by the official task runner."""

from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

HERE = Path(__file__).parent


class ByTheRunner(BashOperator):
    """The same operator; only the engine does not know it."""


COMMANDS = {
    # Output and XCom.
    "echo": {"bash_command": "echo one; echo two"},
    "no_output": {"bash_command": "true"},
    "blank_last_line": {"bash_command": "echo text; echo"},
    "no_last_newline": {"bash_command": "printf 'a\\nb'"},
    "trailing_blanks": {"bash_command": "printf ' a \\t\\r\\n b\\f \\n'"},
    "strange_bytes": {"bash_command": "printf '\\xff\\xfe ok \\xe2\\x82 \\xc3\\xa4 \\x1b[31mred\\x1b[0m\\n'"},
    "carriage_returns": {"bash_command": "printf 'a\\rb\\x0bc\\x1cd\\x85e\\n'"},
    "both_streams": {"bash_command": "echo out; echo err >&2; echo last"},
    "long_line": {"bash_command": "head -c 300000 /dev/zero | tr '\\0' x; echo; echo end"},
    "no_push": {"bash_command": "echo text", "do_xcom_push": False},
    "background": {"bash_command": "(sleep 0.2; echo late) & echo early"},
    # Exit codes.
    "fails": {"bash_command": "echo text; exit 3"},
    "fails_255": {"bash_command": "exit 255"},
    "skips": {"bash_command": "echo text; exit 99"},
    "skips_by_list": {"bash_command": "exit 7", "skip_on_exit_code": [3, 7]},
    "skips_by_number": {"bash_command": "exit 3", "skip_on_exit_code": 3},
    "skips_on_zero": {"bash_command": "exit 0", "skip_on_exit_code": [0]},
    "skips_never": {"bash_command": "exit 99", "skip_on_exit_code": None},
    "is_killed": {"bash_command": "kill -9 $$"},
    "is_terminated": {"bash_command": "kill -15 $$"},
    "not_found": {"bash_command": "no-such-program-at-all"},
    "syntax_error": {"bash_command": "if true; then"},
    "retries": {"bash_command": "echo try {{ ti.try_number }}; test {{ ti.try_number }} = 2", "retries": 1},
    "times_out": {"bash_command": "echo before; sleep 60", "execution_timeout": timedelta(seconds=1)},
    # Environment and working directory.
    "env": {"bash_command": "env | sort", "env": {"A": "b c", "DAY": "{{ ds }}", "EMPTY": "", "SHLVL": "2"}},
    "env_empty": {"bash_command": "env | grep AIRFLOW | sort; echo ${HOME:-homeless}", "env": {}},
    "env_inherited": {"bash_command": "env | sort"},
    "env_appended": {"bash_command": "env | sort", "env": {"FROM_THE_CALLER": "mine", "Z": "{{ 1 + 1 }}"}, "append_env": True},
    "cwd": {"bash_command": "pwd; ls", "cwd": str(HERE / "folder")},
    "cwd_rendered": {"bash_command": "pwd", "cwd": "{{ dag.folder }}/folder"},
    "cwd_missing": {"bash_command": "pwd", "cwd": "/no/such/folder"},
    "cwd_is_a_file": {"bash_command": "pwd", "cwd": __file__},
    "temporary_folder": {"bash_command": "pwd; ls -a; echo > file; echo $0"},
    # Templates and scripts.
    "templates": {"bash_command": "echo '{{ ds }} {{ params.word }} {{ task.task_id }} {{ run_id }} {{ macros.ds_add(ds, 2) }}'"},
    "filters": {"bash_command": "echo {{ params.word | upper | replace('O', '0') }} {{ [3, 1] | sort | join('-') }}"},
    "blocks": {"bash_command": "{% for i in range(3) %}\necho {{ i }}\n{% endfor %}\n"},
    "xcom": {"bash_command": "echo {{ ti.xcom_pull(task_ids='echo') }}", "after": "echo"},
    "variables": {"bash_command": "echo {{ var.value.get('nothing', 'default') }} {{ var.value.from_environment }}"},
    "connection": {"bash_command": "echo {{ conn.from_environment.host }} {{ conn.from_environment.port }}"},
    "secret": {"bash_command": "echo {{ var.value.api_token }}; echo from env $T", "env": {"T": "{{ var.value.api_token }}"}},
    "undefined": {"bash_command": "echo {{ nothing }}"},
    "undefined_attribute": {"bash_command": "echo {{ params.nothing }}"},
    "template_error": {"bash_command": "echo {{ 1 / 0 }}"},
    "template_syntax": {"bash_command": "echo {% if %}"},
    "script": {"bash_command": "script.sh"},
    "script_from_template": {"bash_command": "{{ params.script }}"},
    "script_by_name": {"bash_command": "bash {{ dag.folder }}/plain.sh "},
    "quotes": {"bash_command": "echo \"it's\" 'a \"quote\"' ä \u20ac \u200b back\\\\slash"},
    "too_long": {"bash_command": "echo " + "x" * 200_000},
    "null_byte": {"bash_command": "echo a\0b"},
    "latin": {"bash_command": "printf 'gr\\xfc\\xdf\\n'", "output_encoding": "latin-1"},
    "long_field": {"bash_command": "echo short # " + "y" * 5000, "env": {"LONG": "z" * 5000}},
}

# These make Airflow complain in the log of every task of their Dag.
MISSING_FILES = {
    "script_missing": {"bash_command": "nowhere.sh"},
    "named_like_a_script": {"bash_command": "{{ 'echo a script' }} # .sh"},
}


def build(dag_id, operator, commands):
    with DAG(dag_id, params={"word": "hello", "script": "echo $0 # .sh"}, default_args={"owner": "me", "retry_delay": timedelta(0)}) as dag:
        for name, kwargs in commands.items():
            kwargs = dict(kwargs)
            after = kwargs.pop("after", None)
            task = operator(task_id=name, **kwargs)
            if after:
                dag.get_task(after) >> task
    return dag


native = build("bash_native", BashOperator, COMMANDS)
by_runner = build("bash_by_runner", ByTheRunner, COMMANDS)
missing_native = build("bash_missing_native", BashOperator, MISSING_FILES)
missing_by_runner = build("bash_missing_by_runner", ByTheRunner, MISSING_FILES)
