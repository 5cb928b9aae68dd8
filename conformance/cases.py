"""Named checks that run in order, each whatever became of those before it."""

import traceback


class Cases:
    """The checks of one client, as `@cases("name")` puts them here."""

    def __init__(self, prefix):
        self.prefix, self.cases = prefix, {}

    def __call__(self, name):
        name = f"{self.prefix} {name}"
        assert name not in self.cases, name

        def keep(check):
            self.cases[name] = check
            return check

        return keep

    def run(self, world, only=""):
        """Prints what is wrong; the names of those that are right come back."""
        for name, check in self.cases.items():
            if only not in name:
                continue
            try:
                check(world)
            except Exception as error:  # a client that trips over an answer is what we look for
                where = traceback.extract_tb(error.__traceback__)
                line = next((frame for frame in reversed(where) if frame.filename.endswith("clients.py")), where[0])
                text = f"{line.line}\n{type(error).__name__}: {error}".strip()
                print(f"{name}: fails in line {line.lineno}")
                print("".join(f"    {part}\n" for part in text.splitlines()[:20]), end="")
            else:
                yield name
