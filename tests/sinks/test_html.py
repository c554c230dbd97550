"""The page: what is in it, and in a browser what a user sees and can do."""

from __future__ import annotations

import io
import json
import os
import re
import time
from pathlib import Path

import pytest

from fsession.sinks import html
from fsession.sinks.html import HtmlSink
from fsession.trace.event import Summary
from sinks.browser import CHROMIUM, Browser
from sinks.graphs import graph

SUMMARY = Summary(4, 2, 0, 3, "native", 1, 1, "Linux 7.2 x86_64")
EVIL = "</script><b>"


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def page(calls):
    out = io.StringIO()
    sink = HtmlSink(out)
    sink.begin()
    for call in calls:
        sink.write([call])
    sink.end(SUMMARY)
    return out.getvalue()


def data(calls):
    found = re.search(r'id="data">(.*?)</script>', page(calls), re.DOTALL)
    return json.loads(found[1])


def names(rows):
    return [(row["name"], names(row["children"])) for row in rows]


TREE = [("icmp_rcv", [("filp_open", [("tick", [])]), ("drop", [])])]


def test_a_graph(kernel):
    seen = data(graph(kernel))
    assert names(seen["trees"]) == TREE
    (root,) = seen["stacks"]
    assert (root["name"], root["total"], root["self"], root["calls"]) == ("icmp_rcv", 1000, 400, 1)
    assert names(seen["stacks"]) == TREE
    assert seen["functions"][0] == {
        "name": "icmp_rcv", "calls": 1, "total": 1000, "self": 400, "max": 1000, "errors": 1,
        "buckets": {"10": 1},
    }  # fmt: skip
    assert [row["took"] for row in seen["slowest"]] == [1000, 400, 200, 100]
    assert seen["incomplete"]
    assert "2 lost" in seen["summary"]


def test_a_trace(kernel):
    seen = data([kernel.call("tick"), kernel.call("tick", duration_ns=0)])
    assert names(seen["trees"]) == [("tick", []), ("tick", [])]
    assert seen["functions"][0]["buckets"] == {"14": 1, "0": 1}
    assert seen["trees"][0]["ret"] is None


def test_a_parent_is_missing(kernel):
    calls = graph(kernel)
    del calls[1]
    assert names(data(calls)["trees"]) == [("icmp_rcv", [("drop", [])]), ("tick", [])]


def test_what_is_listed_is_limited_and_all_is_counted(kernel, monkeypatch):
    monkeypatch.setattr(html, "LISTED", 3)
    monkeypatch.setattr(html, "SLOWEST", 2)
    seen = data([kernel.call("tick", duration_ns=took) for took in (5, 9, 1, 7, 3)])
    assert (seen["calls"], seen["listed"], seen["functions"][0]["calls"]) == (5, 3, 5)
    assert [row["took"] for row in seen["slowest"]] == [9, 7]


def test_text_of_the_trace_is_no_markup(kernel):
    calls = [kernel.call("filp_open", 1, 2, 3, strings=(EVIL,), comm=EVIL)]
    assert page(calls).count("</script>") == 2
    assert data(calls)["trees"][0]["task"] == f"{EVIL}/1433"


def test_the_page_needs_nothing_else(kernel):
    assert not re.findall(r"""(?:src|href)=|@import|url\(|fetch\(|https?:""", page(graph(kernel)))


needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no chromium")


@pytest.fixture
def browser(kernel, tmp_path):
    calls = [call for tree in range(30) for call in graph(kernel, tree)]
    evil = {"strings": (EVIL,), "prints": {"a+b": 7}}
    calls += [kernel.call("write", 1, 77, ret=-11, duration_ns=40_000, **evil)]
    path = tmp_path / "page.html"
    path.write_text(page(calls), encoding="utf-8")
    with Browser(tmp_path / "profile") as browser:
        browser.open(path.as_uri())
        yield browser
    assert browser.errors == []


def shown(browser, selector):
    return browser.ask(
        f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)"
    )


def frame(name):
    frames = "[...document.querySelectorAll('.frame')]"
    return f"{frames}.find(frame => frame.textContent.startsWith('{name} '))"


def keep_screenshot(browser, name):
    """For a person to look at, if one wants to."""
    if where := os.environ.get("FSESSION_SCREENSHOTS"):
        (Path(where) / f"{name}.png").write_bytes(browser.screenshot())


@needs_browser
def test_in_a_browser(browser):
    assert shown(browser, "#summary")[0].startswith("4 calls · 2 lost")
    assert [text.split()[0] for text in shown(browser, ".frame")] == [
        "all", "write", "icmp_rcv", "filp_open", "tick", "drop",
    ]  # fmt: skip

    browser.click(frame("filp_open"))  # zoom
    assert [text.split()[0] for text in shown(browser, ".frame")] == ["filp_open", "tick"]
    widths = browser.ask(f"[{frame('filp_open')}.offsetWidth, document.body.clientWidth]")
    assert widths[0] > 0.9 * widths[1]
    browser.click("document.querySelector('#crumbs button')")  # and back
    assert len(shown(browser, ".frame")) == 6

    assert len(shown(browser, "#calls .call")) == 31  # closed trees
    browser.click("document.querySelector('#calls .toggle')")
    rows = [text.partition("(")[0] for text in shown(browser, "#calls .call")[:4]]
    assert [row.split()[-1].lstrip("▸▾") for row in rows] == [
        "icmp_rcv", "filp_open", "drop", "icmp_rcv",
    ]  # fmt: skip

    browser.click("document.querySelector('#search')")
    browser.type("COUNT=77")
    assert shown(browser, "#found") == ["1 of 31 listed"]
    (row,) = shown(browser, "#calls .call")
    assert f'write(buf="{EVIL}", count=77) = -EAGAIN (-11)' in row
    assert "a+b = 7" in row
    assert shown(browser, "#calls mark") == ["count=77"]
    assert len(shown(browser, "#slowest tbody tr")) == 1
    keep_screenshot(browser, "search")


@needs_browser
def test_durations_and_order(browser):
    assert shown(browser, "#histogram .bucket") == ["32.8µs to 65.5µs\n1"]
    choose = """(list => {
        list.value = [...list.options].findIndex(option => option.text === "tick");
        list.dispatchEvent(new Event("change"));
    })(document.querySelector("#function"))"""
    browser.ask(choose)
    assert shown(browser, "#histogram .bucket") == ["64ns to 128ns\n30"]
    browser.click("document.querySelectorAll('#functions th')[0]")
    assert shown(browser, "#functions tbody td:first-child") == [
        "drop", "filp_open", "icmp_rcv", "tick", "write",
    ]  # fmt: skip


@needs_browser
def test_light_and_dark(browser):
    def back():
        return browser.ask("getComputedStyle(document.body).backgroundColor")

    browser.prefer("light")
    light = back()
    browser.prefer("dark")
    dark = back()
    assert light != dark
    browser.click("document.querySelector('#theme')")
    assert back() == light
    browser.click("document.querySelector('#theme')")
    assert back() == dark
    browser.ask("scrollTo(0, 0)")
    keep_screenshot(browser, "dark")
