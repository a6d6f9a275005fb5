"""A real Airflow runs each example DAG, and the one of the README, against the sandbox: states, results, and rows in ClickHouse."""

from __future__ import annotations

import csv
import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pandas as pd
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "example_dags").glob("*.py"))
DAGS = {path.stem for path in EXAMPLES}

EVENTS = "SELECT toString(scheduled_at), carrier, flight, tailnum, origin, dest FROM cancellations ORDER BY ALL"
NAMES = ["time_hour", "carrier", "flight", "origin", "dest"]
PER_AIRPORT = "SELECT origin, count() FROM flights GROUP BY origin ORDER BY origin"


def assert_green(run):
    red = {name: state for name, state in run.states.items() if state != "success"}
    reasons = [line for line in run.log.splitlines() if re.match(r"[\w.]+(Error|Exception): ", line)]
    assert not red, "\n".join([str(red), *reasons])
    assert run.state == "success"


def cancelled(flights: pd.DataFrame) -> pd.DataFrame:
    return flights[flights["dep_time"].isna()]


def as_events(flights: pd.DataFrame, minutes: bool) -> list[tuple[object, ...]]:
    """What rows of the file look like in the data source cancellations."""
    found = []
    for row in flights.itertuples():
        hour = pd.Timestamp(row.time_hour) + pd.Timedelta(minutes=row.minute if minutes else 0)
        tailnum = None if pd.isna(row.tailnum) else row.tailnum
        found.append((hour.strftime("%Y-%m-%d %H:%M:%S"), row.carrier, row.flight, tailnum, row.origin, row.dest))
    return sorted(found, key=in_order)


def in_order(row: tuple[object, ...]) -> tuple[object, ...]:
    """As ClickHouse orders: NULL last."""
    return tuple((value is None, value or "") if index == 3 else value for index, value in enumerate(row))


def per_airport(flights: pd.DataFrame) -> list[tuple[str, int]]:
    return list(flights.groupby("origin").size().items())


def carrier_delays(flights: pd.DataFrame) -> list[tuple[object, ...]]:
    """What the copy pipe makes, once cancelled flights are gone: carrier, flights, cancelled, mean and worst delay."""
    flown = flights[flights["dep_time"].notna()].groupby("carrier")["dep_delay"].agg(["size", "mean", "max"])
    not_flown = cancelled(flights).groupby("carrier").size()
    rows = [
        (carrier, int(row["size"]), int(not_flown.get(carrier, 0)), round(row["mean"], 1), int(row["max"]))
        for carrier, row in flown.iterrows()
    ]
    return sorted(rows, key=lambda row: -row[1])


def test_each_dag_loads_without_errors_and_warnings(airflow):
    assert airflow.bag["import_errors"] == {}
    assert airflow.bag["warnings"] == []
    assert airflow.bag["dags"] == sorted(DAGS | {"flights_to_tinybird"})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_the_documentation_can_quote_begins_and_ends(path):
    open_name = None
    for action, name in re.findall(r"# \[(START|END) (\w+)\]", path.read_text()):
        assert (open_name is None) if action == "START" else (open_name == name)
        open_name = name if action == "START" else None
    assert open_name is None


@pytest.fixture(scope="module")
def runs(airflow, tinybird):
    """The quickstart, run twice: each run, and the rows that it left."""
    found = []
    for _ in range(2):
        run = airflow.run("tinybird_quickstart", flights_url=tinybird.flights_url)
        found.append((run, tinybird.rows(PER_AIRPORT), tinybird.rows(EVENTS)))
    return found


@pytest.mark.parametrize("time", [0, 1], ids=["first", "again"])
def test_quickstart_is_green(runs, time):
    run, _, _ = runs[time]
    assert_green(run)
    assert len(run.states) == 11


@pytest.mark.parametrize("time", [0, 1], ids=["first", "again"])
def test_quickstart_shows_the_numbers_of_pandas(runs, time, flights):
    run, _, _ = runs[time]
    expected = carrier_delays(flights)[:10]
    assert [tuple(row.values()) for row in run.results["query_delays"]["data"]] == expected
    header, *lines = run.results["show_delays"].splitlines()
    assert header.split() == ["carrier", "flights", "cancelled", "mean", "delay", "worst", "delay"]
    shown = [f"{a} {b:,} {c:,} {d:.1f} {e:,}" for a, b, c, d, e in expected]
    assert [" ".join(line.split()) for line in lines] == shown
    assert "\n".join(lines) in run.log


@pytest.mark.parametrize("time", [0, 1], ids=["first", "again"])
def test_quickstart_moves_the_cancelled_flights(runs, time, flights):
    run, left, events = runs[time]
    gone = cancelled(flights)
    assert left == per_airport(flights[flights["dep_time"].notna()])
    assert events == as_events(gone, minutes=True)
    assert run.results["append_flights"]["rows"] == len(flights)
    sent = run.results["send_cancellations"]
    assert (sent["successful_rows"], sent["quarantined_rows"]) == (len(gone), 0)
    assert run.results["count_cancelled"] == {"rows_to_be_deleted": len(gone)}
    assert run.results["delete_cancelled"]["status"] == "waiting"
    assert run.results["wait_for_delete"]["job"]["rows_affected"] == len(gone)
    assert run.results["copy_carrier_delays"]["status"] == "done"


def test_quickstart_deletes_nothing_that_is_not_among_the_events(runs, airflow, tinybird, served, flights):
    """A file in which one flight more is cancelled than the events say."""
    header, first, *rest = gzip.decompress(
        (ROOT / "example_dags/data/flights_2013_01.csv.gz").read_bytes()
    ).splitlines()
    values = first.split(b",")
    values[header.split(b",").index(b"dep_time")] = b""
    (served.folder / "changed.csv").write_bytes(b"\n".join([header, b",".join(values), *rest]))
    run = airflow.run("tinybird_quickstart", flights_url=f"{served.url}/changed.csv")
    assert run.states["compare_counts"] == "failed"
    assert run.states["delete_cancelled"] == "upstream_failed"
    assert tinybird.rows(PER_AIRPORT) == per_airport(flights)


def test_append(airflow, tinybird, flights, tmp_path):
    run = airflow.run("tinybird_append", flights_url=tinybird.flights_url, folder=str(tmp_path))
    assert_green(run)
    assert run.results["append_url"]["rows"] == len(flights)
    assert run.results["replace_jfk"]["job"]["mode"] == "replace"
    assert tinybird.rows(PER_AIRPORT) == per_airport(flights)
    assert run.results["append_file"]["rows"] == len(cancelled(flights))
    assert tinybird.rows(EVENTS) == as_events(cancelled(flights), minutes=False)


def test_files(airflow, tinybird, flights, tmp_path):
    run = airflow.run("tinybird_files", folder=str(tmp_path))
    assert_green(run)
    gone = cancelled(flights)
    origins = dict(per_airport(gone))
    assert run.results["append_csv"]["rows"] == len(flights)
    assert tinybird.rows(PER_AIRPORT) == per_airport(flights)
    assert run.results["append_parquet"]["rows"] == origins["JFK"]
    assert run.results["send_lines"] == origins["EWR"]
    assert run.results["send_frame"]["successful_rows"] == origins["LGA"]
    assert tinybird.rows(EVENTS) == as_events(gone, minutes=False)
    place = tmp_path / "cancellations.parquet"
    assert run.results["read_back"] == place.stat().st_size
    assert pq.read_table(place).num_rows == len(gone)


def test_events(airflow, tinybird, flights):
    run = airflow.run("tinybird_events")
    assert_green(run)
    gone = cancelled(flights)
    sent = {name: run.results[name]["successful_rows"] for name in ("send_dataframe", "send_generator", "send_records")}
    origins = dict(per_airport(gone))
    assert sent == {"send_dataframe": origins["EWR"], "send_generator": origins["JFK"], "send_records": origins["LGA"]}
    sent = run.results["send_ndjson"]
    assert (sent["successful_rows"], sent["quarantined_rows"]) == (1, 1)
    february = ("2013-02-01 18:29:00", "EV", 3840, "N15574", "EWR", "MEM")
    assert tinybird.rows(EVENTS) == sorted([*as_events(gone, minutes=False), february], key=in_order)
    assert tinybird.rows("SELECT flight FROM cancellations_quarantine") == [("EV4312",)]


def test_loads(airflow, tinybird, flights):
    run = airflow.run("tinybird_loads")
    assert_green(run)
    left = flights[flights["dep_time"].notna()]
    found = tinybird.rows("SELECT origin, count(), uniqExact(batch_id) FROM departures GROUP BY origin ORDER BY origin")
    assert found == [(origin, count, 1) for origin, count in per_airport(left)]
    assert run.results["send_newark"]["successful_rows"] == dict(per_airport(left))["EWR"]


def test_large_loads(airflow, tinybird, flights):
    left = flights[flights["dep_time"].notna()]
    moments = pd.to_datetime(left["time_hour"], utc=True)
    week = (moments.dt.day >= 7) & (moments.dt.day < 14)
    delays = left["dep_delay"].where(~week, left["dep_delay"].clip(lower=0))
    for _ in range(2):
        run = airflow.run("tinybird_large_loads")
        assert_green(run)
        assert tinybird.rows("SELECT count(), sum(delay) FROM departures") == [(len(left), int(delays.sum()))]
    corrected = tinybird.rows("SELECT count() FROM departures WHERE batch_id = 'corrected'")
    assert corrected == [(run.results["correct_week"]["rows"],)] == [(week.sum(),)]
    assert (run.results["load_month"]["via"], run.results["load_month"]["rows"]) == ("files", len(left))


def test_delete(airflow, tinybird, flights):
    run = airflow.run("tinybird_delete", flights_url=tinybird.flights_url, before_day=4)
    assert_green(run)
    old = flights["day"] < 4
    aircraft = ~old & (flights["tailnum"] == "N14228")
    assert run.results["count_old"] == {"rows_to_be_deleted": old.sum()}
    assert run.results["delete_old"]["rows_affected"] == old.sum()
    assert aircraft.sum() > 0
    assert run.results["delete_one_aircraft"]["rows_affected"] == aircraft.sum()
    assert tinybird.rows(PER_AIRPORT) == per_airport(flights[~old & ~aircraft])
    assert run.results["truncate"]["truncated"] is True
    assert tinybird.rows("SELECT count() FROM cancellations") == [(0,)]


def test_pipes(airflow, tinybird, flights, tmp_path):
    run = airflow.run("tinybird_pipes", flights_url=tinybird.flights_url, folder=str(tmp_path))
    assert_green(run)
    chosen = flights[flights["origin"].isin(["JFK", "LGA"])]
    expected = list(chosen.groupby(["origin", "carrier"]).size().items())
    copied = tinybird.rows("SELECT origin, carrier, flights FROM carrier_delays ORDER BY origin, carrier")
    assert copied == [(*key, count) for key, count in expected]

    files = list(tinybird.data.rglob("*.csv.gz"))
    exported = {
        path.name: list(csv.DictReader(gzip.decompress(path.read_bytes()).decode().splitlines())) for path in files
    }
    assert sorted(exported) == ["JFK.csv.gz", "LGA.csv.gz"]
    rows = [(row["origin"], row["carrier"], int(row["flights"])) for name in sorted(exported) for row in exported[name]]
    assert rows == copied

    late = flights["dep_delay"] >= 15
    days = flights.assign(late=late).groupby(["origin", "day"]).agg(flights=("late", "size"), late=("late", "sum"))
    sums = (
        "SELECT origin, toDayOfMonth(date), sum(flights), sum(late) FROM daily_departures GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert tinybird.rows(sums) == [(*key, row["flights"], row["late"]) for key, row in days.iterrows()]

    routes = flights.groupby(["origin", "dest"]).size().reset_index(name="flights")
    routes = routes.sort_values(["flights", "origin", "dest"], ascending=[False, True, True])
    top = routes[routes["origin"] != "EWR"].head(5)
    found = [(row["origin"], row["dest"], row["flights"]) for row in run.results["busiest_routes"]["data"]]
    assert found == list(top.itertuples(index=False, name=None))

    path = Path(run.results["all_routes"]["output_path"])
    assert path == tmp_path / "routes.csv"
    written = pd.read_csv(path)[["origin", "dest", "flights"]]
    assert list(written.itertuples(index=False, name=None)) == list(routes.itertuples(index=False, name=None))


def test_query(airflow, tinybird, flights, tmp_path):
    run = airflow.run("tinybird_query", flights_url=tinybird.flights_url, folder=str(tmp_path))
    assert_green(run)
    assert [tuple(row.values()) for row in run.results["flights_by_airport"]["data"]] == per_airport(flights)
    table = pq.read_table(run.results["export_parquet"]["output_path"])
    late = flights[flights["dep_delay"] >= 60]
    assert sorted(table.column("dep_delay").to_pylist()) == sorted(late["dep_delay"])
    assert table.column_names == list(flights.columns)
    medians = flights[flights["dep_delay"].notna()].groupby("hour")["dep_delay"].median()
    assert run.results["worst_hour"] == medians.idxmax()


def test_jobs(airflow, tinybird, flights):
    run = airflow.run("tinybird_jobs", flights_url=tinybird.flights_url)
    assert_green(run)
    job_id = run.results["start_load"]["job_id"]
    assert run.results["start_load"]["status"] == "waiting"
    for name in ("wait_deferred", "wait_poking", "wait_rescheduled"):
        assert (run.results[name]["job_id"], run.results[name]["status"]) == (job_id, "done")
    assert run.results["count_flights"]["data"] == [{"flights": len(flights)}]


def route_days(flights: pd.DataFrame) -> list[tuple[object, ...]]:
    """What copy_route_days makes: day in UTC, route, flights, late ones."""
    days = pd.to_datetime(flights["time_hour"]).dt.strftime("%Y-%m-%d")
    by_day = flights.assign(date=days, late=flights["dep_delay"] >= 15).groupby(["date", "origin", "dest"])["late"]
    sums = by_day.agg(["size", "sum"]).reset_index()
    return [(*key, int(size), int(late)) for *key, size, late in sums.itertuples(index=False)]


def test_backfill_twice(airflow, tinybird, flights):
    for _ in range(2):
        run = airflow.run("tinybird_backfill", flights_url=tinybird.flights_url)
        assert_green(run)
        january = [row for row in route_days(flights) if row[0] < "2013-02-01"]
        found = tinybird.rows("SELECT toString(date), origin, dest, flights, late FROM route_days ORDER BY ALL")
        assert found == january
        windows = run.results["backfill"]["windows"]
        assert [one["start"][:10] for one in windows] == [
            "2013-01-01",
            "2013-01-07",
            "2013-01-14",
            "2013-01-21",
            "2013-01-28",
        ]
        assert run.results["backfill"]["rows"] == len(january)
        files = {path.name.removesuffix(".csv.gz"): path for path in tinybird.data.rglob("route_days/*.csv.gz")}
        assert sorted(files) == sorted({row[0] for row in january})
        texts = [gzip.decompress(path.read_bytes()).decode() for path in files.values()]
        exported = [row for text in texts for row in csv.DictReader(text.splitlines())]
        assert (
            sorted((row["date"], row["origin"], row["dest"], int(row["flights"]), int(row["late"])) for row in exported)
            == january
        )


def test_chain(airflow, tinybird, flights):
    run = airflow.run("tinybird_chain", flights_url=tinybird.flights_url)
    assert_green(run)
    january = pd.DataFrame(route_days(flights), columns=["date", "origin", "dest", "flights", "late"])
    january = (
        january[january["date"] < "2013-02-01"].sort_values(["flights", "date"]).groupby(["origin", "dest"]).tail(1)
    )
    expected = sorted(january[["origin", "dest", "date", "flights"]].itertuples(index=False, name=None))
    assert tinybird.rows("SELECT origin, dest, toString(date), flights FROM busy_days ORDER BY ALL") == expected
    assert run.results["wait_for_copy"]["job_id"] == run.results["busy_days"]["job_id"]
    assert run.results["wait_for_data"]["newest"].startswith("2013-01-31")


def test_quarantine(airflow, tinybird):
    run = airflow.run("tinybird_quarantine")
    assert_green(run)
    assert (run.results["send"]["successful_rows"], run.results["send"]["quarantined_rows"]) == (199, 1)
    assert tinybird.rows("SELECT count() FROM cancellations") == [(199,)]
    (reason,) = run.results["why"]["data"]
    assert (reason["columns"], reason["rows"]) == ("flight", 1)
    assert "EV4308" in reason["error"]


def test_mapping(airflow, tinybird, flights, tmp_path):
    run = airflow.run("tinybird_mapping", flights_url=tinybird.flights_url, folder=str(tmp_path), late=120)
    assert_green(run)
    times = pd.to_datetime(flights["time_hour"])
    late = flights[(flights["dep_delay"] >= 120) & (times >= "2013-01-08T00:00Z") & (times < "2013-01-15T00:00Z")]
    table = pq.read_table(tmp_path / "late_departures.parquet")
    assert len(late) > 50
    assert sorted(table.column("flight").to_pylist()) == sorted(late["flight"])
    for origin, of_origin in flights.groupby("origin"):
        written = pd.read_csv(tmp_path / f"routes_{origin}.csv")
        assert set(written["origin"]) == {origin}
        assert list(written["flights"]) == sorted(of_origin.groupby("dest").size(), reverse=True)[:3]


def test_the_dag_of_the_readme(airflow, tinybird, flights):
    run = airflow.run("flights_to_tinybird")
    assert_green(run)
    assert tinybird.rows(PER_AIRPORT) == per_airport(flights)
    means = flights.groupby("carrier")["dep_delay"].agg(["mean", "size"])
    assert run.results["worst_carrier"] == means[means["size"] > 100]["mean"].idxmax()


def test_guards(airflow, tinybird, flights):
    run = airflow.run("tinybird_guards", flights_url=tinybird.flights_url)
    assert run.states["delete_too_many"] == "failed"
    assert {name for name, state in run.states.items() if state != "success"} == {"delete_too_many"}
    hawaiian = flights["carrier"] == "HA"
    deleted = run.results["delete_carrier"]
    assert (deleted["rows_before"], deleted["rows_after"]) == (len(flights), (~hawaiian).sum())
    assert "rows are about to be deleted" in run.log
    assert "max_fraction=0.05 allows" in run.log
    assert run.results["count_flights"] == (~hawaiian).sum()
    assert tinybird.rows(PER_AIRPORT) == per_airport(flights[~hawaiian])
    sent = run.results["send_with_some_bad_rows"]
    assert (sent["successful_rows"], sent["quarantined_rows"]) == (2, 1)
    assert "1 of 3 rows did not fit" in run.log
    assert tinybird.rows("SELECT count() FROM cancellations") == [(0,)]
    assert tinybird.rows("SELECT count() FROM cancellations_quarantine") == [(0,)]


def test_backfill_of_months(airflow, tinybird, flights):
    run = airflow.run("tinybird_backfill_months", flights_url=tinybird.flights_url, months=[1, 2])
    assert_green(run)
    day = pd.to_datetime(flights["time_hour"]).dt.strftime("%Y-%m-%d")
    expected = [(*key, count) for key, count in flights.groupby([day, "origin"]).size().items()]
    assert tinybird.rows("SELECT toString(day), origin, flights FROM daily_delays ORDER BY day, origin") == expected
    assert run.results["count"]["data"][0]["flights"] == len(flights)
    assert [one["start"][11:13] for one in run.results["one_day"]["windows"]] == ["00", "06", "12", "18"]


def test_sensors(airflow, tinybird, flights):
    run = airflow.run("tinybird_sensors", flights_url=tinybird.flights_url)
    assert_green(run)
    assert run.results["fresh"]["rows"] == len(flights)
    assert run.results["rows"] == {"rows": int((flights["origin"] == "JFK").sum())}
    assert run.results["copied"] == {"job_id": run.results["copy"]["job_id"], "status": "done"}
    assert run.results["clean"] == {"rows": 0, "reasons": []}


def test_checks(airflow, tinybird):
    run = airflow.run("tinybird_checks", flights_url=tinybird.flights_url)
    assert_green(run)
    assert len(run.states) == 7


def test_flights_year(airflow, tinybird, tmp_path):
    run = airflow.run("tinybird_flights_year", folder=str(tmp_path))
    assert_green(run)
    year = pd.read_csv(ROOT / "example_dags/data/flights_2013_one_in_20.csv.gz")
    left = pd.concat([year[year["carrier"] != "F9"], year.iloc[[-2]]])
    is_march = left["time_hour"].str.startswith("2013-03")
    early = is_march & (left["dep_delay"] < 0)
    left.loc[early, "dep_delay"] = 0
    assert early.sum() > 500
    by_month = left.groupby("month").agg(
        flights=("day", "size"), carriers=("carrier", "nunique"), delay=("dep_delay", "sum")
    )
    expected = [(month, int(row.flights), int(row.carriers), int(row.delay)) for month, row in by_month.iterrows()]
    found = [tuple(int(value) for value in row.values()) for row in run.results["summary"]["data"]]
    assert found == expected
    assert len(found) == 12
    routes = left.groupby(["carrier", "origin", "dest"])["distance"].sum()
    sql = "SELECT carrier, origin, dest, toInt64(sum(distance)) FROM year_of_flights GROUP BY ALL ORDER BY ALL"
    assert tinybird.rows(sql) == [(*key, int(total)) for key, total in routes.items()]
    march = run.results["replace_march"]
    in_march = year["time_hour"].str.startswith("2013-03").sum()
    assert (march["rows_before"], march["rows"], march["rows_deleted"]) == (in_march, in_march, 0)
    assert (march["start"], march["end"]) == ("2013-03-01T00:00:00+00:00", "2013-04-01T00:00:00+00:00")
    deleted = run.results["delete_carrier"]
    assert deleted["rows_before"] - deleted["rows_after"] == (year["carrier"] == "F9").sum() > 0
    assert (run.results["append_stragglers"]["rows"], run.results["append_stragglers"]["quarantine_rows"]) == (1, 1)
    [bad] = run.results["see_quarantine"]["data"]
    assert bad == {"carrier": year.iloc[-1]["carrier"], "flight": "EV4312", "columns": ["flight"]}
    assert "1 of 2 rows did not fit into data source 'year_of_flights'" in run.log


def test_replace_day(airflow, tinybird, flights, tmp_path):
    """A day whose last flight has not come yet, then twice all of it: the other days are as they were."""
    all_of_it = flights[flights["time_hour"].str.startswith("2013-01-05")]
    late = all_of_it.index[-1]
    file = ROOT / "example_dags/data/flights_2013_01.csv.gz"
    header, *lines = gzip.decompress(file.read_bytes()).splitlines()
    del lines[late]
    early = tmp_path / "early.csv"
    early.write_bytes(b"\n".join([header, *lines]))
    columns = ["toString(time_hour)", "carrier", "flight", "origin", "dest"]
    others = "SELECT * FROM year_of_flights WHERE toDate(time_hour) != '2013-01-05' ORDER BY ALL"
    day = f"SELECT {', '.join(columns)} FROM year_of_flights WHERE toDate(time_hour) = '2013-01-05' ORDER BY ALL"
    assert_green(airflow.run("tinybird_flights_year", folder=str(tmp_path)))
    before = tinybird.rows(others)
    assert len(before) > 10_000
    seen = None
    for source, expected in ((early, all_of_it.drop(late)), (file, all_of_it), (file, all_of_it)):
        run = airflow.run("tinybird_replace_day", folder=str(tmp_path), source=str(source))
        assert_green(run)
        hours = expected["time_hour"].str.replace("T", " ").str.removesuffix("Z")
        rows = [(hour, *row[1:]) for hour, row in zip(hours, expected[NAMES].itertuples(index=False), strict=True)]
        assert tinybird.rows(day) == sorted(rows)
        assert tinybird.rows(others) == before
        result = run.results["replace_day"]
        assert result["rows"] == len(expected)
        assert seen is None or result["rows_before"] == seen
        seen = len(expected)


@pytest.mark.parametrize("fraction", [0, 180_184], ids=["on the second", "within a second"])
def test_window_that_looks_back(tinybird, fraction):
    """The condition of the recipes as Airflow renders it, over a row every five minutes."""
    page = (ROOT / "docs" / "recipes.md").read_text()
    [condition] = re.findall(r"^```sql\n(WHERE [^`]+data_interval_start[^`]+)^```$", page, re.M)
    begin = datetime(2013, 1, 5, 0, 0, 0, fraction, tzinfo=UTC)
    sql = jinja2.Template(condition, autoescape=True).render(
        data_interval_start=begin,
        data_interval_end=begin + timedelta(days=1),
        macros=SimpleNamespace(timedelta=timedelta),
    )
    moments = "SELECT toDateTime('2013-01-04 00:00:00', 'UTC') + number * 300 AS time_hour FROM numbers(1000)"
    [(count, first, last)] = tinybird.rows(
        f"SELECT toUInt32(count()), toString(min(time_hour)), toString(max(time_hour)) FROM ({moments}) {sql}"
    )
    assert (first, last) == ("2013-01-04 23:00:00", "2013-01-05 23:50:00")
    assert count == 299
