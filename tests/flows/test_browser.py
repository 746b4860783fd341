"""In a real browser: a stranger starts `pipeline` from its form and reads what was released, where, and why not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.flows.town import Shop, Town, eventually

CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
PATIENCE = 120
"""Seconds the UI may take to show something; only a hang is longer."""

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on PATH to look at the UI with; install `chromium`"
    ),
    pytest.mark.timeout(900),
]


@pytest.fixture
def kiosk(the_town: Town) -> Iterator[Shop]:
    """A shop whose runs only people start; the clocks stand still until the test is over."""
    shop = Shop(the_town, "kiosk")
    the_town.admit("kiosk")
    with the_town.clocks_stopped():
        the_town.up.runner(the_town.platform)
        yield shop
        the_town.up.stop_runner()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS.split(), timeout=120_000)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE * 1000)
    yield opened
    context.close()


def test_a_stranger_starts_a_pipeline_and_reads_why_it_was_stopped(kiosk: Shop, page: Page) -> None:
    kiosk.push("1")
    first = kiosk.town.run("pipeline", app="kiosk")
    assert first["name"] == "Completed", first["log"]
    good = kiosk.records("production")[-1].release
    kiosk.push("2", bad=0.2)

    page.goto(kiosk.town.platform.ui)
    start_from_the_form(page, app="kiosk")
    wait_until_over(page)
    bad = kiosk.records("staging")[-1].release

    read_the_run(page, f"kiosk {bad}: Version 2", live=good)
    read_the_release(page, bad, live=good)
    read_the_verdict(page, bad)
    read_the_list(page, bad)
    read_the_log(page, bad)


def start_from_the_form(page: Page, app: str) -> None:
    """Deployments, pipeline, Run, Custom run; the form says what belongs into it."""
    page.get_by_role("link", name="Deployments").click()
    page.get_by_role("link", name="pipeline", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    expect(page.get_by_text("Name of the application, as its file in the fleet says it.")).to_be_visible()
    page.get_by_label("app").press_sequentially(app)
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="View run").click()


def wait_until_over(page: Page) -> None:
    """The page itself says so."""
    over = page.get_by_text(re.compile("^(RolledBack|Completed|Failed|Crashed|Refused|Held)$")).first

    def is_over() -> bool:
        page.reload()
        page.get_by_role("tab", name="Details").wait_for()
        page.wait_for_timeout(2000)
        return over.is_visible()

    eventually("the run is over", is_over, seconds=600)


def read_the_run(page: Page, name: str, live: str) -> None:
    expect(page.get_by_text(name).first).to_be_visible()
    expect(page.get_by_text("RolledBack").first).to_be_visible()
    page.get_by_role("tab", name="Details").click()
    message = page.get_by_text(re.compile(r"errors: ratio .* ≥ 1\.25 after"))
    expect(message.first).to_contain_text(f"{live} is live in production")


def read_the_release(page: Page, bad: str, live: str) -> None:
    """The run's artifacts: what was released, where it is, why it was stopped, what comes next."""
    page.get_by_role("tab", name="Artifacts").click()
    expect(page.get_by_text(f"{bad} is live in staging, is stopped in production").first).to_be_visible()
    page.get_by_role("link", name="release-kiosk").first.click()
    expect(page.get_by_text("Created release-kiosk")).to_be_visible()
    page.get_by_role("link", name=re.compile("^[0-9a-f]{8}$")).first.click()
    expect(page.get_by_role("heading", name=f"kiosk {bad}: Version 2")).to_be_visible()
    staging = page.get_by_role("row", name=re.compile("^staging"))
    expect(staging).to_contain_text(bad)
    production = page.get_by_role("row", name=re.compile("^production"))
    expect(production).to_contain_text(live)
    expect(production).to_contain_text("stopped: errors: ratio")
    expect(production).to_contain_text("a newer release, or tidegate approve kiosk production")
    page.get_by_role("link", name="verdict", exact=True).click()


def read_the_verdict(page: Page, bad: str) -> None:
    """The sentence, the numbers of both arms, how sure, and the picture."""
    expect(page.get_by_role("heading", name=f"Stopped: kiosk {bad} failed in production")).to_be_visible()
    row = page.get_by_role("row", name=re.compile("^errors"))
    expect(row).to_contain_text(re.compile(r"[\d,]+ of [\d,]+ bad \(\d+(\.\d)? %\).*of [\d,]+ bad \(.*%\)"))
    expect(row).to_contain_text("fails ≥ 1.25 ×")
    expect(row).to_contain_text("Failed")
    expect(page.get_by_role("heading", name="How sure")).to_be_visible()
    expect(page.get_by_text(re.compile("surely between .* times as bad as stable")).first).to_be_visible()
    picture = page.get_by_alt_text("canary and stable over time")
    expect(picture).to_be_visible()
    eventually("the picture is drawn", lambda: picture.evaluate("image => image.naturalWidth") == 900)


def read_the_list(page: Page, bad: str) -> None:
    """The list of all runs names each: the release, and each place it went."""
    page.get_by_role("link", name="Runs", exact=True).click()
    page.get_by_placeholder("Search by flow run name").fill(bad)
    for name in (f"kiosk {bad}: Version 2", f"kiosk {bad} → staging", f"kiosk {bad} → production"):
        expect(page.get_by_role("link", name=name).first).to_be_visible()
    expect(page.get_by_text("RolledBack")).to_have_count(2)


def read_the_log(page: Page, bad: str) -> None:
    """A line per thing that a person would tell; none of a library's."""
    page.get_by_role("link", name=f"kiosk {bad} → production").first.click()
    page.get_by_role("tab", name="Logs").click()
    expect(page.get_by_text(f"kiosk production: canary of {bad} at 20 %")).to_be_visible()
    expect(page.get_by_text("Finished in state RolledBack").first).to_be_visible()
    expect(page.get_by_text("HTTP Request")).to_have_count(0)
    expect(page.get_by_text("Finished in state Completed()")).to_have_count(0)
