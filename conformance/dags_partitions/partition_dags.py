"""Producers and consumers of partitions, one for each rule of Airflow's mappers, windows and wait policies."""

import datetime

from partition_plugin import OddDays, StripPrefix

from airflow.sdk import (
    DAG,
    AllowedKeyMapper,
    Asset,
    AssetAlias,
    ChainMapper,
    CronPartitionTimetable,
    DayWindow,
    FanOutMapper,
    FixedKeyMapper,
    HourWindow,
    IdentityMapper,
    Metadata,
    MinimumCount,
    MonthWindow,
    PartitionedAssetTimetable,
    PartitionedAtRuntime,
    ProductMapper,
    QuarterWindow,
    RollupMapper,
    SegmentWindow,
    StartOfDayMapper,
    StartOfHourMapper,
    StartOfMonthMapper,
    StartOfQuarterMapper,
    StartOfWeekMapper,
    StartOfYearMapper,
    WeekWindow,
    Window,
    YearWindow,
    task,
)

moments = Asset("pa_moments", "x-pa://moments")
hours = Asset("pa_hours", "x-pa://hours")
days = Asset("pa_days", "x-pa://days")
regions = Asset("pa_regions", "x-pa://regions")
pairs = Asset("pa_pairs", "x-pa://pairs")
ticks = Asset("pa_ticks", "x-pa://ticks")
derived = Asset("pa_derived", "x-pa://derived")
alias = AssetAlias("pa_alias")


def producer(dag_id, asset, **options):
    with DAG(dag_id, schedule=options.pop("schedule", PartitionedAtRuntime()), tags=["partitions"], **options):

        @task(outlets=[asset])
        def produce(*, dag_run, outlet_events):
            """The keys that the run's conf has, or none of its own."""
            for key in (dag_run.conf or {}).get("keys", []):
                outlet_events[asset].add_partitions(key)
            date = dag_run.partition_date
            return {"key": dag_run.partition_key, "date": date and date.isoformat()}

        produce()


def consumer(dag_id, assets, outlets=(), **options):
    limits = {name: options.pop(name) for name in ("max_active_runs",) if name in options}
    schedule = PartitionedAssetTimetable(assets=assets, **options) if options.pop("partitioned", True) else assets
    with DAG(dag_id, schedule=schedule, tags=["partitions"], **limits):

        @task(outlets=list(outlets))
        def consume(*, dag_run, triggering_asset_events, partition_key=None):
            told = [event.partition_key for events in triggering_asset_events.values() for event in events]
            date = dag_run.partition_date
            return {
                "key": dag_run.partition_key,
                "context": partition_key,
                "date": date and date.isoformat(),
                "told": sorted(told, key=str),
            }

        consume()


producer("pa_make_moments", moments)
producer("pa_make_hours", hours)
producer("pa_make_days", days)
producer("pa_make_regions", regions)
producer("pa_make_pairs", pairs)
START = {"start_date": datetime.datetime(2024, 3, 9, 23, tzinfo=datetime.timezone.utc), "catchup": True}
END = {"end_date": datetime.datetime(2024, 3, 10, 2, tzinfo=datetime.timezone.utc)}
producer("pa_cron", ticks, schedule=CronPartitionTimetable("0 * * * *", timezone="UTC"), **START, **END)
producer(
    "pa_cron_offset",
    Asset("pa_other_ticks"),
    schedule=CronPartitionTimetable("0 * * * *", timezone="Asia/Taipei", run_offset=-2, key_format="%Y.%m.%dT%H"),
    **START,
    **END,
)
producer(
    "pa_cron_ahead",
    Asset("pa_ticks_ahead"),
    schedule=CronPartitionTimetable("0 0 * * *", timezone="America/New_York", run_offset=1, key_format="%j-%y"),
    start_date=datetime.datetime(2024, 3, 8, tzinfo=datetime.timezone.utc),
    end_date=datetime.datetime(2024, 3, 12, tzinfo=datetime.timezone.utc),
    catchup=True,
)

producer(
    "pa_cron_no_run_id",
    Asset("pa_ticks_of_no_run"),
    schedule=CronPartitionTimetable("0 * * * *", timezone="UTC", key_format="%Y/%m/%d %H"),
    **START,
    **END,
)

with DAG("pa_make_by_alias", schedule=PartitionedAtRuntime(), tags=["partitions"]):

    @task(outlets=[alias])
    def by_alias():
        yield Metadata(Asset("pa_made", "x-pa://made"), extra={"by": "alias"}, alias=alias)

    by_alias()

# One key gives one.
consumer("pa_identity", moments, outlets=[derived])
consumer("pa_of_derived", derived)
consumer("pa_of_ticks", ticks)
consumer("pa_hour", moments, default_partition_mapper=StartOfHourMapper())
consumer("pa_day", moments, default_partition_mapper=StartOfDayMapper())
consumer("pa_week", moments, default_partition_mapper=StartOfWeekMapper())
consumer("pa_month", moments, default_partition_mapper=StartOfMonthMapper())
consumer("pa_quarter", moments, default_partition_mapper=StartOfQuarterMapper())
consumer("pa_year", moments, default_partition_mapper=StartOfYearMapper())
consumer(
    "pa_day_taipei",
    moments,
    default_partition_mapper=StartOfDayMapper(timezone="Asia/Taipei", output_format="%d.%m.%Y %z"),
)
consumer(
    "pa_quarter_format",
    moments,
    default_partition_mapper=StartOfQuarterMapper(timezone="America/New_York", output_format="Q{quarter}/%Y"),
)
consumer(
    "pa_hour_berlin",
    hours,
    default_partition_mapper=RollupMapper(
        upstream_mapper=StartOfHourMapper(timezone="Europe/Berlin"),
        window=HourWindow(direction=Window.Direction.BACKWARD),
        wait_policy=MinimumCount(1),
    ),
)
consumer("pa_allowed", regions, default_partition_mapper=AllowedKeyMapper(["us", "eu"]))
consumer("pa_fixed", regions, default_partition_mapper=FixedKeyMapper("everywhere"))
consumer("pa_product", pairs, default_partition_mapper=ProductMapper(IdentityMapper(), StartOfDayMapper()))
consumer(
    "pa_product_dates",
    pairs,
    default_partition_mapper=ProductMapper(StartOfYearMapper(), StartOfDayMapper(), delimiter="~"),
)
consumer(
    "pa_chain",
    moments,
    default_partition_mapper=ChainMapper(StartOfHourMapper(), StartOfMonthMapper(input_format="%Y-%m-%dT%H")),
)
consumer("pa_by_ref", Asset.ref(name="pa_regions"))
consumer("pa_by_uri", Asset.ref(uri="x-pa://regions"))
consumer("pa_by_alias", alias)
consumer("pa_plain", moments, partitioned=False)
consumer("pa_limited", moments, max_active_runs=1)

# One key gives many.
consumer(
    "pa_fan_week", days, default_partition_mapper=FanOutMapper(
        upstream_mapper=StartOfWeekMapper(input_format="%Y-%m-%d"), window=WeekWindow()
    )
)
consumer(
    "pa_fan_back",
    days,
    default_partition_mapper=FanOutMapper(
        upstream_mapper=StartOfMonthMapper(input_format="%Y-%m-%d"),
        window=QuarterWindow(direction=Window.Direction.BACKWARD),
    ),
)
consumer(
    "pa_fan_too_far",
    days,
    default_partition_mapper=FanOutMapper(
        upstream_mapper=StartOfMonthMapper(input_format="%Y-%m-%d"), window=MonthWindow(), max_downstream_keys=28
    ),
)
consumer(
    "pa_fan_year",
    days,
    default_partition_mapper=FanOutMapper(
        upstream_mapper=StartOfYearMapper(input_format="%Y-%m-%d"),
        window=YearWindow(),
        downstream_mapper=StartOfMonthMapper(output_format="%m/%Y"),
    ),
)

# Many keys give one.
consumer(
    "pa_roll_day",
    hours,
    default_partition_mapper=RollupMapper(upstream_mapper=StartOfDayMapper(), window=DayWindow()),
)
consumer(
    "pa_roll_two",
    hours,
    default_partition_mapper=RollupMapper(
        upstream_mapper=StartOfDayMapper(), window=DayWindow(), wait_policy=MinimumCount(2)
    ),
)
consumer(
    "pa_roll_but_two",
    hours,
    default_partition_mapper=RollupMapper(
        upstream_mapper=StartOfDayMapper(), window=DayWindow(), wait_policy=MinimumCount(-2)
    ),
)
consumer(
    "pa_roll_never",
    hours,
    default_partition_mapper=RollupMapper(
        upstream_mapper=StartOfDayMapper(), window=DayWindow(), wait_policy=MinimumCount(25)
    ),
)
consumer(
    "pa_roll_hour",
    hours,
    default_partition_mapper=RollupMapper(
        upstream_mapper=StartOfHourMapper(), window=HourWindow(), wait_policy=MinimumCount(1)
    ),
)
consumer(
    "pa_roll_week",
    days,
    default_partition_mapper=RollupMapper(
        upstream_mapper=StartOfWeekMapper(input_format="%Y-%m-%d"), window=WeekWindow(), wait_policy=MinimumCount(2)
    ),
)
consumer(
    "pa_roll_segments",
    regions,
    default_partition_mapper=RollupMapper(
        upstream_mapper=FixedKeyMapper("all"), window=SegmentWindow(["us", "eu", "apac"])
    ),
)

# Several assets.
consumer(
    "pa_and",
    moments & hours,
    default_partition_mapper=StartOfHourMapper(),
)
consumer("pa_or", moments | hours, default_partition_mapper=StartOfMonthMapper())
consumer(
    "pa_mixed",
    days & Asset.ref(name="pa_hours"),
    partition_mapper_config={
        Asset.ref(name="pa_hours"): RollupMapper(
            upstream_mapper=StartOfDayMapper(), window=DayWindow(), wait_policy=MinimumCount(3)
        )
    },
)
consumer(
    "pa_conflict",
    moments & hours,
    partition_mapper_config={
        moments: StartOfDayMapper(timezone="UTC"),
        hours: StartOfDayMapper(timezone="Asia/Taipei"),
    },
)

# Classes of plugins.
consumer("pa_custom", regions, default_partition_mapper=StripPrefix("eu-"))
consumer(
    "pa_custom_window",
    days,
    default_partition_mapper=RollupMapper(
        upstream_mapper=StartOfMonthMapper(input_format="%Y-%m-%d"), window=OddDays(4)
    ),
)
