"""Records which files Airflow finds below a folder, for many `.airflowignore` files.

    python crates/importer/tests/golden/record_discovery.py crates/importer/tests/golden/discovery.json
"""

import json
import os
import random
import sys
import tempfile
from pathlib import Path

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "CRITICAL"

from airflow._shared.module_loading.file_discovery import find_path_from_directory  # noqa: E402

FILES = [
    "a.py", "b.py", "a_test.py", "keep_test.py", "#x.py", "with space.py",
    "lib/a.py", "lib/b.py", "lib/deep/a.py", "lib/deep/lib/a.py",
    "sub/a.py", "sub/c.py", "sub/lib/a.py", "sub/lib/c.py", "sub/sub/a.py", "sub/keep/a.py",
    "x.y/a.py", "build/out.py", "docs/build/out.py", ".hidden/a.py", "ünï/a.py",
]  # fmt: skip
GLOBS = [
    "a.py", "/a.py", "*.py", "!a.py", "*_test.py", "!keep_test.py", "lib", "lib/", "/lib", "/lib/", "!lib/", "sub/lib",
    "sub/lib/", "/sub/*.py", "**/lib", "**/a.py", "lib/**", "sub/**/a.py", "deep/a.py", "/*/a.py", "*/", "!*/", "*",
    "!sub", "[ab].py", "?.py", "a.p[!x]", "x.y", "x?y", "with space.py", "with\\ space.py", "# only a comment",
    "b.py # a comment", "b.py   ", "/", "", "**", "***", "build", "docs/build", "keep", "!keep/", "ünï", ".hidden",
    "!/sub/a.py", "sub/", "!sub/a.py", "*.txt", "lib/*", "!lib/b.py", "a.py/", "//a.py", "./a.py", "sub//lib", "{a,b}.py",
]  # fmt: skip
REGEXPS = [
    "a.py", "^a.py$", "lib", "lib/", "^lib/", "sub/.*", ".*_test", "[", "(?:x)", "sub/lib/c", "$", "^$", "# comment",
    "b.py # a comment", "^sub$", "/", "a\\.py", "ünï", "(?i)LIB", "^[^/]*$", "(a|b)\\.py$", "sub/(?!lib)", "x.y",
]  # fmt: skip


def case(syntax, ignores):
    with tempfile.TemporaryDirectory() as base:
        for name in FILES:
            path = Path(base, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        for folder, lines in ignores.items():
            Path(base, folder, ".airflowignore").write_text("\n".join(lines))
        found = find_path_from_directory(base, ".airflowignore", syntax)
        found = sorted(str(Path(path).relative_to(base)) for path in found)
    return {"syntax": syntax, "ignores": ignores, "found": found}


def main():
    cases = []
    for syntax, lines in (("glob", GLOBS), ("regexp", REGEXPS)):
        cases += [case(syntax, {".": [line]}) for line in lines]
        rng = random.Random(7)
        for _ in range(150 if syntax == "glob" else 40):
            ignores = {".": rng.sample(lines, rng.randint(1, 4))}
            for folder in ("sub", "lib", "sub/lib"):
                if rng.random() < 0.3:
                    ignores[folder] = rng.sample(lines, rng.randint(1, 3))
            cases.append(case(syntax, ignores))
    # The same trees again and again: only what is missing is written.
    for each in cases:
        each["missing"] = sorted(set(FILES) - set(each.pop("found")))
    dump = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))  # noqa: E731
    lines = ",\n".join(dump(each) for each in cases)
    Path(sys.argv[1]).write_text(f'{{"files":{dump(FILES)},\n"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
