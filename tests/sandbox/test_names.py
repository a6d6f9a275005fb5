"""Names of data sources that are not there, and loads without rows: nothing comes into being that nobody asked for."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird._compat import AirflowFailException, AirflowSkipException
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.loads import MissingDatasourceError, NotEnoughRowsError
from airflow_provider_tinybird.operators.datasources import TinybirdAppendFileOperator, TinybirdAppendUrlOperator
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.load import NothingToReplaceError, TinybirdLoadOperator
from airflow_provider_tinybird.operators.load import TinybirdReplaceIntervalOperator as Interval
from airflow_provider_tinybird.policies.deletes import EmptyLoadError

ROW = {"day": "2013-03-01", "carrier": "DL", "delay": 1}
CSV = "day,carrier,delay\n2013-03-01,DL,1\n"


@pytest.fixture
def file(tmp_path, box):
    (tmp_path / "x.csv").write_text(CSV)
    (box.files / "x.csv").write_text(CSV)
    return str(tmp_path / "x.csv")


LOADS = {
    "events": lambda url, file: (TinybirdEventsOperator, {"data": [ROW]}),
    "events of a function": lambda url, file: (TinybirdEventsOperator, {"data": lambda: pytest.fail("called")}),
    "load as events": lambda url, file: (TinybirdLoadOperator, {"data": [ROW]}),
    "load as files": lambda url, file: (TinybirdLoadOperator, {"data": [ROW], "via": "files"}),
    "replace": lambda url, file: (TinybirdLoadOperator, {"data": [ROW], "mode": "replace"}),
    "file": lambda url, file: (TinybirdAppendFileOperator, {"path": file}),
    "url": lambda url, file: (TinybirdAppendUrlOperator, {"url": f"{url}/files/x.csv"}),
    "file that replaces": lambda url, file: (TinybirdAppendFileOperator, {"path": file, "mode": "replace"}),
    "interval": lambda url, file: (
        Interval,
        {"column": "day", "data": [ROW], "start": "2013-03-01", "end": "2013-04-01"},
    ),
}


@pytest.mark.parametrize("datasource", ["ordres", "None"])
@pytest.mark.parametrize("way", LOADS)
def test_no_load_goes_into_what_is_not_there(box, run_here, file, way, datasource):
    before = box.names()
    cls, arguments = LOADS[way](box.url, file)
    with pytest.raises(AirflowFailException, match=datasource):
        run_here(cls, datasource=datasource, **arguments)
    assert box.names() == before
    assert box.seen("POST", "/v0/events") == []


def test_what_to_do_is_said(box, run_here):
    with pytest.raises(AirflowFailException) as caught:
        run_here(TinybirdEventsOperator, datasource="ordres", data=[ROW])
    said = str(caught.value).splitlines()
    assert said[0] == "Data source 'ordres' does not exist in this workspace. Nothing was sent."
    assert "create_missing=True" in said[1]


@pytest.mark.parametrize("cls", [TinybirdEventsOperator, TinybirdLoadOperator])
def test_it_is_created_where_that_is_meant(box, run_here, cls):
    run_here(cls, datasource="brand_new", data=[ROW], create_missing=True)
    assert box.count("brand_new") == 1


def test_files_cannot_create_it(box, run_here):
    with pytest.raises(AirflowFailException, match="via='events'"):
        run_here(TinybirdLoadOperator, datasource="brand_new", data=[ROW], create_missing=True, via="files")
    assert "brand_new" not in box.names()


def test_a_load_looks_once(box, run_here):
    run_here(TinybirdEventsOperator, datasource="flights", data=[ROW])
    run_here(TinybirdLoadOperator, datasource="flights", data=[ROW])
    assert len(box.seen("GET", "/v0/datasources/flights")) == 2


def test_a_token_that_may_not_look_goes_on(box, run_here, caplog):
    box.fault("/v0/datasources/flights", method="GET", status=403, body={"error": "not for this token"})
    caplog.set_level("INFO")
    run_here(TinybirdEventsOperator, datasource="flights", data=[ROW])
    assert box.count() == 1
    assert "Whether data source 'flights' exists was not checked" in caplog.text


def test_the_hook_creates_only_what_is_meant(box):
    hook = TinybirdHook()
    with pytest.raises(MissingDatasourceError, match="ordres"):
        hook.send_events("ordres", [ROW])
    for call in (hook.send_events, lambda name, _: hook.append_url(name, f"{box.url}/files/x.csv")):
        with pytest.raises(InvalidInputError, match="'None'"):
            call(str(None), [ROW])
    with pytest.raises(InvalidInputError, match="'None'"):
        hook.send_events("None", [ROW], create_missing=True)
    hook.send_events("brand_new", [ROW], create_missing=True)
    assert box.count("brand_new") == 1


# Without rows

EMPTY = [[], "", lambda: iter(()), list]
WAYS = [(TinybirdEventsOperator, {}), (TinybirdLoadOperator, {}), (TinybirdLoadOperator, {"via": "files"})]


@pytest.mark.parametrize("data", EMPTY)
@pytest.mark.parametrize(("cls", "more"), WAYS)
class TestEmpty:
    def test_a_warning(self, box, run_here, caplog, cls, more, data):
        value = run_here(cls, datasource="flights", data=data, **more)
        assert value.get("rows", value.get("successful_rows")) == 0
        warned = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
        assert any("There are no rows for data source 'flights'" in one for one in warned)
        assert box.seen("POST", "/v0/events") == []

    @pytest.mark.parametrize("bound", [{}, {"min_rows": 5}])
    def test_skip(self, box, run_here, cls, more, data, bound):
        with pytest.raises(AirflowSkipException, match="on_empty='skip'"):
            run_here(cls, datasource="flights", data=data, on_empty="{{ 'skip' }}", **more, **bound)

    @pytest.mark.parametrize("bound", [{}, {"min_rows": 5}])
    def test_fail(self, box, run_here, cls, more, data, bound):
        with pytest.raises(EmptyLoadError, match="Nothing was sent"):
            run_here(cls, datasource="flights", data=data, on_empty="fail", **more, **bound)

    @pytest.mark.parametrize("choice", [{}, {"on_empty": "success"}])
    def test_success_is_not_enough_for_a_minimum(self, box, run_here, cls, more, data, choice):
        with pytest.raises(NotEnoughRowsError, match=r"has 0 rows, and min_rows=1 asks for more\. Nothing was sent"):
            run_here(cls, datasource="flights", data=data, min_rows="{{ 1 }}", **more, **choice)


@pytest.mark.parametrize("cls", [TinybirdEventsOperator, TinybirdLoadOperator])
@pytest.mark.parametrize(("name", "value"), [("on_empty", "sucess"), ("min_rows", "many"), ("min_rows", -1)])
def test_arguments_that_make_no_sense(box, run_here, cls, name, value):
    with pytest.raises(AirflowFailException, match=f"{name}={value!r}"):
        run_here(cls, datasource="flights", data=[ROW], **{name: value})
    assert box.count() == 0


class TestEmptyReplace:
    def replace(self, run_here, **arguments):
        return run_here(TinybirdLoadOperator, datasource="flights", data=[], mode="replace", **arguments)

    @pytest.mark.parametrize("choice", [{}, {"on_empty": "fail"}])
    def test_it_fails_unless_told(self, box, run_here, choice):
        box.fill()
        with pytest.raises(NothingToReplaceError, match="Nothing was changed"):
            self.replace(run_here, **choice)
        assert box.count() == 4

    def test_skip_leaves_what_is_there(self, box, run_here):
        box.fill()
        with pytest.raises(AirflowSkipException):
            self.replace(run_here, on_empty="skip")
        assert box.count() == 4

    @pytest.mark.parametrize("choice", ["success", "keep"])
    def test_success_leaves_what_is_there(self, box, run_here, choice):
        box.fill()
        assert self.replace(run_here, on_empty=choice)["rows_after"] == 4

    def test_delete(self, box, run_here):
        box.fill()
        assert self.replace(run_here, on_empty="delete", min_rows=7)["rows_after"] == 0


@pytest.mark.parametrize("choice", ["keep", "delete"])
@pytest.mark.parametrize("via", ["auto", "files"])
def test_an_append_keeps_what_is_there_whatever_it_is_told(box, run_here, choice, via):
    box.fill()
    run_here(TinybirdLoadOperator, datasource="flights", data=[], on_empty=choice, via=via, min_rows=3)
    assert box.count() == 4


# Fewer rows than there must be

FEW = [[ROW] * 3, lambda: [[ROW], [ROW] * 2], lambda: iter([ROW] * 3)]


@pytest.mark.parametrize("data", FEW)
@pytest.mark.parametrize(("cls", "more"), [*WAYS, (TinybirdLoadOperator, {"mode": "replace"})])
def test_too_few_rows_are_not_sent(box, run_here, cls, more, data):
    box.fill()
    with pytest.raises(NotEnoughRowsError, match=r"has 3 rows, and min_rows=4 asks for more\. Nothing was sent"):
        run_here(cls, datasource="flights", data=data, min_rows=4, **more)
    assert box.count() == 4
    run_here(cls, datasource="flights", data=data, min_rows=3, **more)


@pytest.mark.parametrize(("cls", "more"), WAYS)
def test_rows_in_quarantine_are_not_in(box, run_here, cls, more):
    rows = [ROW, ROW, {**ROW, "delay": "many"}]
    with pytest.raises(AirflowFailException, match=r"2 rows were written .* min_rows=3 asks for more") as caught:
        run_here(cls, datasource="flights", data=rows, min_rows=3, on_quarantine="warn", **more)
    assert "They are in, so this is not retried." in str(caught.value)
    assert box.count() == 2


# The user's own error before the first row


class OwnError(ValueError):
    pass


def broken():
    raise OwnError("no rows today")


def broken_generator():
    raise OwnError("no rows today")
    yield


@pytest.mark.parametrize("data", [broken, broken_generator])
@pytest.mark.parametrize("more", [*WAYS, (TinybirdLoadOperator, {"mode": "replace"})])
def test_an_error_before_the_first_row_says_that_nothing_was_sent(box, run_here, caplog, data, more):
    caplog.set_level("INFO")
    cls, arguments = more
    with pytest.raises(OwnError, match="no rows today") as caught:
        run_here(cls, datasource="flights", data=data, **arguments)
    assert caught.value.__notes__ == ["Nothing was sent to 'flights'."]
    assert "Nothing was sent to 'flights'." in caplog.text
    assert caught.value.__cause__ is None


def test_the_same_of_an_interval(box, run_here):
    with pytest.raises(OwnError) as caught:
        run_here(Interval, datasource="flights", column="day", data=broken, start="2013-03-01", end="2013-04-01")
    assert caught.value.__notes__ == ["Nothing was sent to 'flights'."]


def test_a_function_may_skip_the_task(box, run_here):
    def skipping():
        raise AirflowSkipException("no new file")

    with pytest.raises(AirflowSkipException, match="no new file"):
        run_here(TinybirdEventsOperator, datasource="flights", data=skipping)
