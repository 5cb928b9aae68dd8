"""BashOperator and @task.bash in all their settings."""

from __future__ import annotations

import json

from shared_helpers import NOW, START

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task


def dag(name, **options):
    return DAG(f"bash_{name}", schedule=None, start_date=START, tags=["own", "bash"], **options)


def bash(name, command, **options):
    return BashOperator(task_id=name, bash_command=command, **options)


with dag("exit_codes"):
    for code in (0, 1, 2, 99, 100, 126, 127, 255):
        bash(f"exit_{code}", f"exit {code}")
    bash("skip_on_5", "exit 5", skip_on_exit_code=5)
    bash("skip_on_5_fails", "exit 99", skip_on_exit_code=5)
    bash("skip_on_many", "exit 7", skip_on_exit_code=[6, 7])
    bash("skip_on_none", "exit 99", skip_on_exit_code=None)
    bash("skip_on_zero", "exit 0", skip_on_exit_code=0) >> EmptyOperator(task_id="after_skip")
    bash("retry_then_skip", "[ {{ ti.try_number }} = 2 ] && exit 99; exit 1", retries=1, retry_delay=NOW)
    bash("no_such_command", "no_such_command_at_all")
    bash("syntax", "if then")
    bash("last_counts", "false; echo still fine")
    bash("set_e", "set -e; false; echo never")
    bash("pipe", "false | echo pipe")
    bash("pipefail", "set -o pipefail; false | echo pipe")

with dag("output"):
    bash("nothing", "true")
    bash("one_line", "echo one")
    bash("last_line", "echo one; echo two")
    bash("no_newline", "printf 'no newline'")
    bash("empty_last", "echo one; echo")
    bash("spaces", "echo '  padded  '")
    bash("tabs", "printf 'a\\tb\\n\\n\\n'")
    bash("carriage_return", "printf 'one\\rtwo\\r\\n'")
    bash("unicode", "echo 'žluťoučký kůň 🐎'")
    bash("latin", "printf 'caf\\xe9\\n'", output_encoding="latin-1")
    bash("invalid_utf8", "printf 'bad \\xff byte\\n'")
    bash("stderr", "echo out; echo err >&2")
    bash("only_stderr", "echo err >&2")
    bash("json_text", """echo '{"a": [1, 2]}'""")
    bash("long_line", "head -c 5000 /dev/zero | tr '\\0' x")
    bash("many_lines", "seq 20000")
    bash("colours", "printf '\\033[31mred\\033[0m\\n'")
    bash("null_byte", "printf 'a\\0b\\n'")
    bash("not_pushed", "echo hidden", do_xcom_push=False)
    bash("fails_after_output", "echo before; exit 1")
    bash("background", "(sleep 1; echo late) & echo early; wait")

with dag("environment"):
    show = "echo \"[$ONE] [$TWO] [${HOME:+home}] [${PATH:+path}] [$AIRFLOW_CTX_TASK_ID]\""
    bash("inherited", show)
    bash("replaced", show, env={"ONE": "1", "TWO": "{{ ti.task_id }}"})
    bash("appended", show, env={"ONE": "1"}, append_env=True)
    bash("empty", show, env={})
    bash("context", "echo $AIRFLOW_CTX_DAG_ID $AIRFLOW_CTX_TASK_ID $AIRFLOW_CTX_TRY_NUMBER $AIRFLOW_CTX_DAG_OWNER")
    bash("context_names", "env | grep -o '^AIRFLOW_CTX_[A-Z_]*' | sort | tr '\\n' ' '", env={}, append_env=True)
    bash("quotes", 'echo "$ONE"', env={"ONE": "it's \"quoted\" $HOME `x` \\"})
    bash("newline", 'echo "$ONE" | wc -l', env={"ONE": "a\nb"})
    bash("cwd", "pwd", cwd="/usr")
    bash("cwd_template", "pwd", cwd="/{{ 'usr' }}")
    bash("cwd_missing", "pwd", cwd="/no/such/folder")
    bash("cwd_is_file", "pwd", cwd="/etc/passwd")
    bash("cwd_default", "ls -A | wc -l; [ $(pwd | cut -c1-15) = /tmp/airflowtmp ] && echo temporary")
    bash("bash_itself", "echo ${BASH_VERSION:+bash} $# $-")
    bash("trap", "trap 'echo trapped' EXIT; echo body")
    bash("limits", "ulimit -n | grep -c .")

with dag("commands"):
    bash("multi_line", "\n  set -u\n  value=1\n  if [ $value = 1 ]; then\n    echo yes\n  fi\n")
    bash("heredoc", "cat <<EOF\na $((1 + 2))\nEOF")
    bash("functions", "f() { echo \"f $1\"; }; f x; f y")
    bash("arrays", "a=(1 2 3); echo ${a[@]:1} {{ '${#a[@]}' }}")
    bash("comment", "echo a # echo b")
    bash("loop", "for i in $(seq 3); do echo $i; done | paste -sd+ | bc || echo 6")
    bash("substitution", "diff <(echo a) <(echo a) && echo same")
    bash("exec", "exec echo replaced")
    bash("nested_bash", "bash -c 'bash -c \"echo deep; exit 0\"'")
    bash("python", "python3 -c 'print(6 * 7)'")
    bash("long_command", "true " + "x" * 60_000 + "; echo long")
    bash("template_quotes", "echo {{ \"it's\" | replace(\"'\", '') }} '{{ [1, \"a\"] }}'")
    bash("percent", "printf '%s-%s\\n' a b; date -d @0 -u +%Y")
    bash("dollar_braces", "x=abc; echo ${x%c} ${x/b/{{ 'B' }}}")
    bash("backslashes", r"echo 'a\\b\n' | tr -d '\n'")

with dag("processor"):
    bash("json", """echo '{"a": [1, 2]}'""", output_processor=json.loads)
    bash("number", "echo 41", output_processor=lambda text: int(text) + 1)
    bash("fails", "echo text", output_processor=int)
    bash("none", "echo text", output_processor=lambda text: None)

with dag("decorated"):

    @task.bash
    def plain():
        return "echo plain"

    @task.bash
    def templated():
        return "echo {{ ti.task_id }} {{ params.x | default(1) }}"

    @task.bash(env={"NAME": "{{ ti.task_id }}"}, append_env=True, params={"y": 2})
    def with_env():
        return 'echo "$NAME {{ params.y }}"'

    @task.bash(skip_on_exit_code=3)
    def skips():
        return "exit 3"

    @task.bash
    def fails():
        return "exit 1"

    @task.bash
    def argument(value, ti=None):
        return f"echo got {value} in {ti.task_id}"

    @task.bash
    def wrong_type():
        return 5

    @task.bash
    def empty():
        return ""

    argument(plain())
    templated()
    with_env()
    skips() >> EmptyOperator(task_id="after_skip")
    fails()
    wrong_type()
    empty()

with dag("subclass"):

    class Polite(BashOperator):
        """Does the same, and adds a word."""

        def execute(self, context):
            return super().execute(context) + ", please"

    class Prefixed(BashOperator):
        """Has a field more to render."""

        template_fields = (*BashOperator.template_fields, "prefix")

        def __init__(self, *, prefix, **kwargs):
            super().__init__(**kwargs)
            self.prefix = prefix

        def execute(self, context):
            self.bash_command = f"echo {self.prefix}; {self.bash_command}"
            return super().execute(context)

    Polite(task_id="polite", bash_command="echo coffee")
    Prefixed(task_id="prefixed", prefix="{{ ti.task_id }}", bash_command="true")
