"""Records what Airflow's timetables answer, for `tests/timetables.rs` to replay.

Run it with the Python of an Airflow installation:

    python record_timetables.py > timetables.json

`--seed N --scale N` records a larger, different set, for a search for differences; point the test to it with
TIMETABLE_RECORDING.

Times are seconds since the epoch, or microseconds as text with a `u` where that is not a whole number. The answers of
a timetable are `[last, earliest, latest, catchup, now, answer]`; `last` and the answer are `[start, end]` or null, an
answer may also be the name of the exception that Airflow raised.
"""

import argparse
import calendar
import datetime as dt
import itertools
import json
import os
import random
import sys
import tempfile
import types

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp())
os.environ["LC_ALL"] = "C"

import pendulum  # noqa: E402
from airflow._shared.timezones import timezone as timezones  # noqa: E402
from airflow.serialization.decoders import decode_timetable  # noqa: E402
from airflow.serialization.encoders import encode_timetable  # noqa: E402
from airflow.timetables import events, interval, simple, trigger  # noqa: E402
from airflow.timetables.base import DataInterval, TimeRestriction  # noqa: E402
from croniter import croniter  # noqa: E402
from dateutil.relativedelta import FR, MO, SU, relativedelta  # noqa: E402

UTC = pendulum.UTC
MICROSECOND = dt.timedelta(microseconds=1)


class Clock:
    """The frozen clock of all modules that read one."""

    now = None

    @classmethod
    def utcnow(cls):
        return dt.datetime.fromtimestamp(0, tz=UTC) + dt.timedelta(microseconds=cls.now)


def freeze_clock():
    for module in (interval, trigger, timezones):
        module.utcnow = Clock.utcnow
    trigger.time = types.SimpleNamespace(time=lambda: Clock.now / 1e6)


def moment(text):
    return pendulum.parse(text, tz="UTC")


def microseconds(when):
    # Not by subtraction: pendulum's goes over floating point.
    return calendar.timegm(when.utctimetuple()) * 1_000_000 + when.microsecond


def seconds(when):
    """A time in the shortest exact form."""
    if when is None:
        return None
    count = microseconds(pendulum.instance(when))
    return f"{count}u" if count % 1_000_000 else count // 1_000_000


# The moments at which clocks jump, by zone; in a zone without jumps just some moment.
JUMPS = {
    "UTC": ["2024-02-29T00:00:00", "2025-01-01T00:00:00"],
    "Europe/Zurich": ["2024-03-31T01:00:00", "2024-10-27T01:00:00"],
    "America/New_York": ["2024-03-10T07:00:00", "2024-11-03T06:00:00"],
    "Australia/Lord_Howe": ["2024-04-06T15:00:00", "2024-10-05T15:30:00"],
    "Europe/Berlin": ["2024-03-31T01:00:00", "2024-10-27T01:00:00"],
    "Asia/Kolkata": ["2024-05-05T18:30:00"],
    # Not a whole half hour from UTC, and a jump of a quarter of an hour to get there.
    "Asia/Kathmandu": ["2024-06-30T18:15:00", "1985-12-31T18:30:00"],
    "America/Sao_Paulo": ["2017-10-15T03:00:00", "2018-02-18T02:00:00"],
    "Africa/Casablanca": ["2024-03-10T02:00:00", "2024-04-14T02:00:00"],
    # Two hours forward; forward at midnight; a whole day left out; summer time that counts as standard time.
    "Antarctica/Troll": ["2024-03-31T01:00:00", "2024-10-27T01:00:00"],
    "America/Havana": ["2024-03-10T05:00:00", "2024-11-03T05:00:00"],
    "Pacific/Apia": ["2011-12-30T10:00:00"],
    "Europe/Dublin": ["2024-03-31T01:00:00"],
    19800: ["2024-06-30T18:30:00"],
    -12600: ["2024-12-31T03:30:00"],
}

# Outside of these years, editions of the time zone database differ.
SETTLED = (moment("1970-01-01T00:00:00"), moment("2026-01-01T00:00:00"))


def is_settled(zone, *moments):
    return zone == "UTC" or isinstance(zone, int) or all(SETTLED[0] <= when < SETTLED[1] for when in moments)


AROUND = [
    dt.timedelta(hours=-26),
    dt.timedelta(hours=-3, minutes=-10),
    dt.timedelta(minutes=-61),
    dt.timedelta(minutes=-30, seconds=-1),
    -MICROSECOND,
    dt.timedelta(0),
    MICROSECOND,
    dt.timedelta(minutes=20),
    dt.timedelta(minutes=45, seconds=7.25),
    dt.timedelta(minutes=90),
    dt.timedelta(hours=25),
]

# What users write, and what brings out a rule.
EVERYDAY = """
@hourly|@daily|@weekly|@monthly|@quarterly|@yearly|@midnight|@annually|@Daily
* * * * *|*/2 * * * *|*/5 * * * *|*/10 * * * *|*/15 * * * *|*/20 * * * *|*/30 * * * *|*/7 * * * *
0 * * * *|5 * * * *|15 * * * *|30 * * * *|59 * * * *|0,30 * * * *|15,45 * * * *|0,15,30,45 * * * *
0 */2 * * *|0 */3 * * *|0 */4 * * *|0 */6 * * *|0 */8 * * *|0 */12 * * *|30 */2 * * *|15 */6 * * *
0 0 * * *|0 1 * * *|0 2 * * *|30 2 * * *|0 3 * * *|30 1 * * *|45 23 * * *|0 6 * * *|0 12 * * *|5 4 * * *
0 0,12 * * *|0 6,18 * * *|30 8,12,16 * * *|0 2,3 * * *|0 9-17 * * *|*/15 9-17 * * *|0 22-2 * * *|0 1-4 * * *
0 9 * * 1-5|0 9 * * mon-fri|30 17 * * 5|0 0 * * 0|0 0 * * 7|0 0 * * sun|0 0 * * 6,0|0 8 * * mon,wed,fri
0 0 1 * *|0 0 15 * *|0 0 1,15 * *|0 0 31 * *|0 0 29 2 *|0 0 L * *|30 4 L * *|0 0 1 1 *|0 0 1 */3 *
0 0 1 1,4,7,10 *|0 0 1 jan *|0 6 1-7 * *|0 0 */2 * *|0 0 */7 * *|0 0 1-7 * 1|0 0 13 * 5|0 0 1 * mon
0 0 * * 1#1|0 0 * * 5#3|0 10 * * L5|0 0 * * fri#2|0 12 * * mon#1,mon#3|0 0 15W * *|0 0 1W * *
*/5 8-18 * * 1-5|0 0 ? * *|0 0 * * ?|0 0 * */2 *|0 0 1 4-9 *|10-50/10 * * * *|5/20 * * * *|0 5/6 * * *
0 0 * nov-feb *|0 0 * * fri-mon|0 0 30 4,6,9,11 *|23 0-20/2 * * *|0 4 8-14 * *|5 0 * 8 *|15 14 1 * *
"""

UNUSUAL = """
0 0 * * 1-7|0 0 * * 0-7|0 0 * * 5-7/2|0 0 * * 7-2|0 0 * * sat-sun|0 0 * * 6-1/2|0 0 * * 7/2|0 0 * * 6/2
0 0 * apr-jan/3 *|0 0 * 11-2 *|0 0 * 12/3 *|0 0 * jan-jan *|0 0 * * sun-sun|0 0 5-5 * *|50-10 * * * *|50-10/7 * * * *
59/15 * * * *|45/15 * * * *|*/70 * * * *|0-59 * * * *|0-59/1 * * * *|* 0-23 * * *|0 */1 * * *|0 23-22 * * *
0 0 1-31 * 1|0 0 */1 * 1|0 0 1-31 * */2|0 0 31 * 1|0 0 */2 * */2|0 0 * * 0-6|0 0 1 * 0-6|0 0 L * 5|0 0 L,15 * *
0 0 1-30,L * *|0 0 28-L * *|0 0 20-L/3 * *|0 0 L 2 *|0 0 30,31 * *|0 0 29-31 * *|0 0 31 2,3 *|0 0 29 2 1
0 0 30 2 1|0 0 1W 6 *|0 0 W15 * *|0 0 31W * *|0 0 15W * 1|0 0 L * L5|0 0 1 * 1#1|0 0 * * 1#5|0 0 * * sun#5
0 0 * * mon-fri#1|0 0 * * mon-mon#2|0 0 * * L0,L6|0 0 * * *,2#3|0 0 * * 2,2#3|0 0 * * L7|0 0 * * 7#1
*,5 * * * *|0 *,5 * * *|0 *,0-22 * * *|0 0 *,5 * 1|0 0 1,2,2,3 * *|00 05 01 * *|0 0 ? * 1|0 0 1 * ?
* * * * * *|* * * * * */10|0 0 * * * 0|*/5 * * * * 30|0 12 * * * 15,45|30 2 * * * 59|0 0 1 1 * 0 2030|* * * * * 0 2024
0 0 1 1 * 0 2024-2030|0 0 1 1 * 0 */7|0 0 29 2 * 0 2023/2|0 0 * * * * 2024|59 23 31 12 * 59 *|0 0 1 1 * 0 1970-2099
30 2 L * * 0 2000-1980|0 0 1 7 * 0 2020,2040|0 0 * * 1 */20|50-10/25 22-2/3 * * * 40-5/13
"""

INVALID = """
|*|* * * *|* * * * * * * *|60 * * * *|* 24 * * *|* * 32 * *|* * 0 * *|* * * 13 *|* * * 0 *|* * * * 8|* * * * 9
-1 * * * *|1- * * * *|-  * * * *|1-5-7 * * * *|*/0 * * * *|*/-1 * * * *|*/ * * * *|/5 * * * *|*/a * * * *|1/2/3 * * * *
5-l * * * *|a * * * *|* * * foo *|* * * * foo|* * * monday *|* * * january *|* * * * jan|* * * mon *|1,,2 * * * *|, * * * *
1.5 * * * *|+5 * * * *|0x5 * * * *|* * L-3 * *|* * L/2 * *|* * LW * *|* * l5 * *|* * 15W,16W * *|* * 15W,1 * *|* * 0W * *
* * 32W * *|* * 10-15W * *|* * W * *|* * * * L|* * * * L8|* * * * 5L|* * * * 1#0|* * * * 1#6|* * * * 8#1|* * * * #1
* * * * 1#|* * * * 1-3#2|* * * * *#1|* * * * 1,2#3|* * * * mon#2,tue|* * * * jan#1|* * * * 1#1#1|* * * * mon-fri/2#1|*? * * * *
? * * * *|* ? * * *|* * * ? *|* * 1,? * *|* * * * ?,1|** * * * *|*5 * * * *|*-5 * * * *|5-* * * * *|1-60 * * * *|70-80 * * * *
0-5/0 * * * *|0-5/x * * * *|* * 0-5 * *|* * 0/5 * *|* * * 0-3 *|* * 0-0 * *|* * 31-0 * *|* * * 12-0 *|* * 5-32 * *
H * * * *|H/5 * * * *|H(1-5) * * * *|H(1-5)/2 * * * *|h * * * *|@reboot|@never|@once|@continuous|@every 5m|@DAILY|@Hourly
* * * * * 60|* * * * * -1|* * * * * * 1969|* * * * * * 2100|* * * * * * 0|* * * * * * 5-5|* * * * * * 2000-5|* * * * * * 5-2000
0 0 * * mon-|0 0 * * -mon|0 0 * * mon--fri|0 0 * * m-f|0 0 * * sun-sat|0 0 * * SUN-SAT|0 0 * * MON,tue,Wed|0 0 * JAN-mar/2 *
1-5,10-15/2,*/20 * * * *|1 2 3 4 5|01 02 03 04 05|1 2 3 4 5 6|1 2 3 4 5 6 2007|0 0 1 1 1 0 2099|1-1 * * * *|1-1/7 * * * *
999999999999999999999 * * * *|*/999999999999999999999 * * * *|0005 * * * *|1_0 * * * *|٣ * * * *|* * * * 1_#1|* * w5 * *|* * L,L * *
* * 5-5,L * *|* * l-l * *|* * 1-l/l * *|* * * l *|* l * * *|0 0 * 1-13 *|0 0 * * 0-8|0 0 * * 6-9|0 0 * * 7-7|0 0 * * 7-7/2
""" + EVERYDAY + UNUSUAL

# Beyond the everyday ones, for the describer.
DESCRIBED = """
1-5 * * * *|1-5 3 * * *|0-20/3 9 * * *|*/5 3 * * *|5/10 * * * *|0/15 * * * *|0 0/4 * * *|3 2/5 * * *|*/1 * * * *
0 2-23/3 * * *|0 6,12-15 * * *|0 6-23/2,1 * * *|5,10-20 * * * *|5/10,30 * * * *|*/15,7 * * * *|0 */2,3 * * *|1,2,3 4 * * *
0 9-17/2 * * 1-5|*/10 9-11,14-16 * * *|30 9-17 * * *|0,30 9-17 * * *|5 9-17 * * mon-fri|* 9 * * *|* 9,10 * * *|* */2 * * *
0 0 5,10,20 * *|0 0 5-10 * *|0 0 5-10/2 * *|0 0 3/4 * *|0 0 1/4 * *|0 0 */1 * *|0 0 2-10/1 * *|0 0 L 6 *|0 0 l * *|0 0 15w * *
0 0 W1 * *|0 0 1-5,20 * *|0 0 5/10,20 * *|0 0 1 */1 *|0 0 1 1/3 *|0 0 1 3/3 *|0 0 1 2-8/2 *|0 0 1 2,4-6 *|0 0 1 jan,feb *
0 0 * 6 *|0 0 * jun-aug *|0 0 * 6-8 1|0 0 * * 1,3,5|0 0 * * 1-3,5|0 0 * * */2|0 0 * * 1/2|0 0 * * 2/2|0 0 * * fri/2|0 0 * * 1-5/2
0 0 * * 1-5/5|0 0 * * 1-3/4|0 0 * * 1,3/2|0 0 * * 1-3/2,5|0 0 * * 2#1|0 0 * * 2#2|0 0 * * 2#4|0 0 * * 2#5|0 0 * * 1#1,3#2
0 0 * * L1|0 0 * * 1-7|0 0 * * 0-7|0 0 * * 5,7|0 0 * * 7,6|0 0 * * 0,6|0 0 * * tue-thu|0 0 * * sat|0 0 1-7 * mon|0 0 L * fri
0 0 1 6 5|*/5 * 1 * 1|0 12 1-7,15-21 * 1|0 12 * 1-3 1|0 12 */2 * 1|0 12 ? * 1|0 12 1 * ?|15 10 ? * mon-fri|30 2 */3 */2 *|0 0 1 12 *
1 1 1 1 1|00 00 * * *|05 5 * * *|0 00 * * *|*/05 * * * *|0 0 01 * *|0 0 * 01 *|0 0 * * 01|0 0 * * 17|20 * * * *|19 * * * *
10,20 */3 * * *|10-20 */3 * * *|10-20/2 */3 * * *|*/2 */3 * * *|0-30 9-17 * * *|0-30/5 9-17 * * *|0-30/5 9 * * *|45 1-3,5 * * *
0 0,6,12,18 * * *|0 1,2,3,4,5 * * *|59 23 * * 0|59 23 31 12 *|0 0 * * 0#1|0 0 * * 6#2,0|30 6 1,2,3,4,5 1,6 *|0 18-23,0-6 * * *
0 0 28-31 * *|5 8 * * 6,7|5 8 * * 1-6|*/3 2-4 * * 3-5|0 3 * * 2-4|10 10 10 10 *|0-0 * * * *|* 5-5 * * *|0 0 * * 3-3|0 0 31-1 * *
"""


def expressions(*texts):
    found = [line for text in texts for line in "|".join(text.strip("\n").split("\n")).split("|")]
    return list(dict.fromkeys(found))


def random_expressions(rng, count):
    """Texts made of what an expression may have, mostly valid."""
    names = {3: ["jan", "Mar", "jul", "nov", "dec"], 4: ["sun", "Mon", "wed", "fri", "sat"]}
    bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7), (0, 59), (2015, 2035)]

    def value(field):
        if field in names and rng.random() < 0.3:
            return rng.choice(names[field])
        if field == 2 and rng.random() < 0.1:
            return "L"
        return str(rng.randint(*bounds[field]))

    def item(field):
        shape = rng.random()
        if field == 4 and shape < 0.06:
            return f"{value(4)}#{rng.randint(1, 5)}"
        if field == 4 and shape < 0.09:
            return f"L{rng.randint(0, 7)}"
        if field == 2 and shape < 0.04:
            return f"{rng.randint(1, 31)}W"
        if shape < 0.3:
            return value(field)
        if shape < 0.55:
            return f"{value(field)}-{value(field)}"
        if shape < 0.7:
            return f"{value(field)}-{value(field)}/{rng.randint(1, 9)}"
        if shape < 0.85:
            return f"*/{rng.randint(1, 12)}"
        if shape < 0.93:
            return f"{value(field)}/{rng.randint(1, 12)}"
        return "*"

    def field_text(field):
        if rng.random() < (0.5 if field in (2, 3, 4) else 0.25):
            return "*"
        return ",".join(item(field) for _ in range(rng.choice([1, 1, 1, 2, 3])))

    return [" ".join(field_text(f) for f in range(rng.choice([5, 5, 5, 5, 6, 7]))) for _ in range(count)]


def is_valid(expression):
    try:
        croniter(expression)
    except ValueError:
        return False
    return True


def record_validity(rng, scale):
    found = {}
    for text in expressions(INVALID) + random_expressions(rng, 150 * scale):
        resolved = interval.CronDataIntervalTimetable(text, "UTC")._expression
        found[text] = is_valid(resolved)
    return {
        "valid": [text for text, valid in found.items() if valid],
        "invalid": [text for text, valid in found.items() if not valid],
    }


def steps(differences):
    """`3600*5 7200` for five steps of an hour and one of two."""
    parts = []
    for difference, group in itertools.groupby(differences):
        count = len(list(group))
        text = str(difference // 1_000_000) if difference % 1_000_000 == 0 else f"{difference}u"
        parts.append(text if count == 1 else f"{text}*{count}")
    return " ".join(parts)


def chain(expression, zone, start, forward, length):
    """Moment after moment, as `[expression, zone, "n" or "p", start, steps, exception]`."""
    timetable = interval.CronDataIntervalTimetable(expression, pendulum.timezone(zone))
    moments = [start]
    error = None
    for _ in range(length):
        try:
            following = (timetable._get_next if forward else timetable._get_prev)(moments[-1])
        except Exception as e:
            error = type(e).__name__
            break
        if not is_settled(zone, following):
            break
        moments.append(following)
    differences = [microseconds(b) - microseconds(a) for a, b in itertools.pairwise(moments)]
    return [expression, zone, "n" if forward else "p", seconds(start), steps(differences), error]


def record_chains(rng, scale):
    chains = []
    everyday, unusual = expressions(EVERYDAY), expressions(UNUSUAL)
    starts = [moment("2024-02-28T13:37:00"), moment("2023-12-31T23:59:59.999999"), moment("1999-03-01T00:00:00")]
    for expression in everyday + unusual:
        for forward in (True, False):
            for start in rng.sample(starts, 2):
                chains.append(chain(expression, "UTC", start, forward, 24))
    for expression in random_expressions(rng, 60 * scale):
        if is_valid(expression):
            zone = rng.choice(list(JUMPS))
            start = moment(rng.choice(JUMPS[zone])) + rng.choice(AROUND)
            chains.append(chain(expression, zone, start, rng.random() < 0.5, 20))
    for zone, jumps in JUMPS.items():
        for jump in jumps:
            for expression in rng.sample(everyday, min(len(everyday), 9 * scale)) + rng.sample(unusual, 3):
                back, on = rng.sample(AROUND, 2)
                chains.append(chain(expression, zone, moment(jump) + back, True, 30))
                chains.append(chain(expression, zone, moment(jump) + on, False, 30))
    return chains


def record_descriptions(rng, scale):
    found = expressions(EVERYDAY, UNUSUAL, DESCRIBED) + random_expressions(rng, 150 * scale)
    return [[text, interval.CronDataIntervalTimetable(text, "UTC").description] for text in found]


def ask(timetable, last, earliest, latest, catchup, now):
    Clock.now = microseconds(now)
    try:
        info = timetable.next_dagrun_info(
            last_automated_data_interval=last,
            restriction=TimeRestriction(earliest=earliest, latest=latest, catchup=catchup),
        )
    except Exception as e:
        return type(e).__name__, None
    if info is None:
        return None, None
    assert info.run_after == info.data_interval.end
    # As it comes back from the database: in UTC.
    in_utc = DataInterval(*(pendulum.instance(when).in_timezone(UTC) for when in info.data_interval))
    return pair(in_utc), in_utc


def pair(data_interval):
    return data_interval and [seconds(data_interval.start), seconds(data_interval.end)]


def record_timetable(rng, timetable, anchors, questions, sequence):
    encoded = encode_timetable(timetable)
    # What the scheduler has is what came back from the database.
    encoded = json.loads(json.dumps(encoded))
    timetable = decode_timetable(encoded)
    answers, manual = [], []

    def record(last, earliest, latest, catchup, now):
        answer, interval_ = ask(timetable, last, earliest, latest, catchup, now)
        if interval_ is not None and not is_settled(encoded["__var"].get("timezone", "UTC"), *interval_):
            return None
        answers.append([pair(last), seconds(earliest), seconds(latest), int(catchup), seconds(now), answer])
        return interval_

    def near(spread_hours=60):
        jitter = dt.timedelta(minutes=rng.choice([1, 5, 15, 60]) * rng.randint(-spread_hours, spread_hours))
        fraction = dt.timedelta(microseconds=rng.choice([0] * 9 + [1, 500_000, 999_999, 123_456]))
        return moment(rng.choice(anchors)) + rng.choice(AROUND) + jitter + fraction

    def bound():
        return rng.choice([None, near(200)])

    for _ in range(questions):
        now = near()
        last = rng.choice([None, "some"])
        if last:
            end = near()
            last = DataInterval(end - dt.timedelta(hours=rng.choice([0, 1, 24, 1, 24, 168, 744])), end)
        record(last, bound(), rng.choice([None, None, near(400)]), rng.random() < 0.5, now)
    # Run after run, as the scheduler asks for them.
    for catchup in (True, False):
        start, last = near(), None
        now = start + dt.timedelta(days=rng.choice([0, 1, 3, 40]))
        for _ in range(sequence):
            last = record(last, start, None, catchup, now)
            if last is None:
                break
            now = max(now, last.end) + dt.timedelta(seconds=rng.choice([0, 1, 90, 4000]))
    for _ in range(max(questions // 4, 2)):
        run_after = near()
        try:
            interval_ = timetable.infer_manual_data_interval(run_after=run_after)
            if not is_settled(encoded["__var"].get("timezone", "UTC"), *interval_):
                continue
            answer = pair(interval_)
        except Exception as e:
            answer = type(e).__name__
        manual.append([seconds(run_after), answer])
    return {
        "type": encoded["__type"],
        "data": encoded["__var"],
        "summary": timetable.summary,
        "description": timetable.description,
        "periodic": timetable.periodic,
        "can_be_scheduled": timetable.can_be_scheduled,
        "active_runs_limit": timetable.active_runs_limit,
        "answers": answers,
        "manual": manual,
    }


DELTAS = [
    dt.timedelta(minutes=1),
    dt.timedelta(minutes=7),
    dt.timedelta(hours=1),
    dt.timedelta(hours=5, minutes=30),
    dt.timedelta(days=1),
    dt.timedelta(days=1, hours=2),
    dt.timedelta(days=7),
    dt.timedelta(days=30),
    dt.timedelta(seconds=0.1),
    dt.timedelta(seconds=1.5),
    dt.timedelta(seconds=90, microseconds=7),
    relativedelta(months=1),
    relativedelta(months=3),
    relativedelta(years=1),
    relativedelta(years=1, months=14, days=3),
    relativedelta(months=1, day=31),
    relativedelta(months=1, day=1, hour=6, minute=30),
    relativedelta(days=1),
    relativedelta(weeks=2),
    relativedelta(hours=36),
    relativedelta(days=1.5),
    relativedelta(hours=1, minutes=90, seconds=100, microseconds=2_000_001),
    relativedelta(days=1, weekday=FR),
    relativedelta(days=1, weekday=MO(2)),
    relativedelta(months=1, weekday=SU(-1)),
    relativedelta(months=1, leapdays=-1),
    relativedelta(days=1, hour=9, minute=15, second=30, microsecond=250),
    relativedelta(weekday=FR),
    relativedelta(months=18, days=-5),
    relativedelta(days=1_234_567),
]

# Offsets for data intervals that look back.
INTERVALS = [
    dt.timedelta(),
    dt.timedelta(hours=1),
    dt.timedelta(days=1),
    dt.timedelta(seconds=0.25),
    relativedelta(months=1),
    relativedelta(days=1, hour=6),
    relativedelta(weekday=MO(-1), days=1),
]

RUN_IMMEDIATELY = [True, False, None, dt.timedelta(minutes=10), dt.timedelta(hours=2), dt.timedelta(seconds=0.5)]

EVENT_DATES = [
    "2024-03-10T02:30:00-05:00",
    "2024-03-31T02:30:00+01:00",
    "2024-03-31T00:00:00+00:00",
    "2024-03-31T00:00:00+00:00",
    "2024-10-27T00:59:59.999999+00:00",
    "2024-10-27T12:00:00+05:30",
    "2025-01-01T00:00:00+00:00",
]


def timetables(rng, scale):
    """Timetables with the moments around which they are asked."""
    everyday = expressions(EVERYDAY)
    unusual = [text for text in expressions(UNUSUAL) if is_valid(text)]
    for zone, jumps in JUMPS.items():
        tz = pendulum.timezone(zone)
        picked = rng.sample(everyday, min(3 * scale, len(everyday))) + rng.sample(unusual, scale)
        picked += ["0 * * * *", "30 2 * * *", "*/20 * * * *"]
        for expression in picked:
            yield interval.CronDataIntervalTimetable(expression, tz), jumps
            yield (
                trigger.CronTriggerTimetable(
                    expression,
                    timezone=tz,
                    interval=rng.choice(INTERVALS),
                    run_immediately=rng.choice(RUN_IMMEDIATELY),
                ),
                jumps,
            )
        for _ in range(2 * scale):
            yield (
                trigger.MultipleCronTriggerTimetable(
                    *rng.sample(everyday, rng.choice([1, 2, 3])),
                    timezone=tz,
                    interval=rng.choice(INTERVALS),
                    run_immediately=rng.choice(RUN_IMMEDIATELY),
                ),
                jumps,
            )
    some = ["2024-01-31T12:00:00", "2024-02-29T00:00:00", "2024-12-31T23:59:59"]
    for delta in DELTAS:
        yield interval.DeltaDataIntervalTimetable(delta), some
        yield trigger.DeltaTriggerTimetable(delta, interval=rng.choice(INTERVALS)), some
    for _ in range(2):
        yield simple.NullTimetable(), some
        yield simple.OnceTimetable(), some
        yield simple.ContinuousTimetable(), some
    dates = [pendulum.parse(text) for text in EVENT_DATES]
    around = JUMPS["Europe/Zurich"] + JUMPS["America/New_York"]
    for restrict in (True, False):
        yield events.EventsTimetable(dates, restrict_to_events=restrict), around
        yield events.EventsTimetable(dates[2:4], restrict_to_events=restrict, description="Matches"), around
        yield events.EventsTimetable([], restrict_to_events=restrict), around


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    freeze_clock()
    recording = {
        "validity": record_validity(rng, options.scale),
        "chains": record_chains(rng, options.scale),
        "descriptions": record_descriptions(rng, options.scale),
        "timetables": [
            record_timetable(rng, timetable, anchors, 5 * options.scale, 4 * options.scale)
            for timetable, anchors in timetables(rng, options.scale)
        ],
    }
    # One line for each thing recorded, so that differences between recordings can be read.
    lines = []
    for name, value in recording.items():
        dump = lambda item: json.dumps(item, separators=(",", ":"), ensure_ascii=False)  # noqa: E731
        items = value if isinstance(value, list) else None
        body = "[\n" + ",\n".join(dump(item) for item in items) + "\n]" if items is not None else dump(value)
        lines.append(f'"{name}":{body}')
    sys.stdout.write("{" + ",\n".join(lines) + "}\n")


main()
