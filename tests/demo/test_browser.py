"""The app in a real browser: three heads appear, stay after repeated updates, and turn together."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.assets import launch_options
from demo.callbacks import Callbacks
from demo.interface import create_app

pytestmark = [pytest.mark.browser, pytest.mark.slow]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

# WebGL without a graphics card, and no requests of Chromium's own.
FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 90_000  # ms
DRAWN = "count => Number(document.querySelector('#of-viewer [data-draws]')?.dataset.draws ?? 0) >= count"
CONTEXTS = """() => [...document.querySelectorAll('#of-viewer canvas')]
    .map(canvas => canvas.getContext('webgl') ?? canvas.getContext('webgl2'))
    .filter(context => context && !context.isContextLost()).length"""
CAMERAS = """() => [...document.querySelectorAll('#of-viewer .of-plot')]
    .map(plot => Object.values(plot._fullLayout.scene._scene.getCamera().eye))"""
NO_RESULTS = """() => !document.querySelector('#of-overlay img') &&
    document.querySelector('#of-viewer [data-state=message]') && document.querySelector('#of-obj').disabled"""
# Lowest skin before the neck: the chin.
CHIN = """() => { const { x, y, z } = document.querySelectorAll('#of-viewer .of-plot')[2].data[0];
    let low = 1; for (let i = 0; i < x.length; i += 1)
        if (Math.abs(x[i]) < 0.01 && z[i] > 0.03) low = Math.min(low, y[i]); return low; }"""
REPEATS = 6  # browsers drop the oldest context after a handful when contexts leak


@pytest.fixture(scope="module")
def address(callbacks: Callbacks) -> Iterator[str]:
    app = create_app(callbacks=callbacks)
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield url
    app.close()


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_api.sync_playwright() as playwright:
        if executable is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium is installed; run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser: "sync_api.Browser", address: str) -> "sync_api.Page":
    return browser.new_page(viewport={"width": 1280, "height": 900})


def test_cover_reconstruct_and_turn(page: "sync_api.Page", address: str) -> None:
    outside: list[str] = []
    page.on(
        "request", lambda request: outside.append(request.url) if _is_outside(request.url, address) else None
    )
    page.goto(address)
    page.wait_for_selector("#of-covered img", timeout=WAIT)
    for count in range(REPEATS):
        page.locator("#of-variant input[type=number]").fill(str(count + 1))
        with page.expect_response(lambda response: "queue/join" in response.url):
            page.keyboard.press("Tab")
        page.wait_for_timeout(700)
        page.click("#of-run")
        page.wait_for_function(DRAWN, arg=count + 1, timeout=WAIT)
    assert page.evaluate(CONTEXTS) == 3

    page.click("#of-viewer [data-value=difference]")
    page.wait_for_selector("#of-viewer .of-legend.of-shown")
    _drag(page)
    page.wait_for_timeout(1500)
    first, second, third = page.evaluate(CAMERAS)
    assert first == pytest.approx(second, abs=1e-3)
    assert first == pytest.approx(third, abs=1e-3)
    assert abs(first[0] - 0.36) > 0.05
    assert outside == []


def test_neutral_ends_a_face_made_with_the_sliders(page: "sync_api.Page") -> None:
    page.get_by_text("Move the student's face").click()
    jaw = page.locator("#of-move-jaw input[type=number]")
    jaw.fill("0.8")
    with page.expect_response(lambda response: "queue/join" in response.url):
        page.keyboard.press("Tab")
    page.wait_for_timeout(1500)
    moved = page.evaluate(CHIN)
    page.click("#of-viewer [data-group=view] [data-value=neutral]")
    page.wait_for_function(
        "() => document.querySelector('#of-move-jaw input[type=number]').value === '0'", timeout=WAIT
    )
    assert page.evaluate(CHIN) > moved + 0.005  # metres; the chin is up again
    page.click("#of-viewer [data-group=view] [data-value=photo]")


def test_another_photo_or_none_clears_the_results(page: "sync_api.Page") -> None:
    page.locator("#of-examples button").nth(1).click()
    page.wait_for_function(NO_RESULTS, timeout=WAIT)
    page.wait_for_selector("#of-covered img", timeout=WAIT)
    page.wait_for_timeout(700)
    page.click("#of-run")
    page.wait_for_selector("#of-overlay img", timeout=WAIT)
    page.click('#of-photo button[aria-label="Remove Image"]')
    page.wait_for_function(NO_RESULTS, timeout=WAIT)
    page.wait_for_timeout(1500)  # it must not come back
    assert page.locator("#of-photo img, #of-covered img").count() == 0
    assert page.locator("#of-status").inner_text().strip() == ""


def test_bad_upload_is_a_notice_and_the_app_goes_on(page: "sync_api.Page", tmp_path: Path) -> None:
    bad = tmp_path / "holiday.jpg"
    bad.write_text("not a picture")
    page.set_input_files("#of-photo input[type=file]", bad)
    page.wait_for_selector("text=holiday.jpg", timeout=WAIT)
    page.locator("#of-examples button").first.click()
    page.wait_for_selector("#of-covered img", timeout=WAIT)


def _is_outside(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


def _drag(page: "sync_api.Page") -> None:
    plot = page.locator("#of-viewer .of-plot").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 70, y + 10, steps=3)
    page.mouse.up()


def test_on_a_phone_a_swipe_scrolls_or_turns_and_two_fingers_zoom(
    browser: "sync_api.Browser", address: str
) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 820}, has_touch=True, is_mobile=True)
    page.goto(address)
    page.wait_for_selector("#of-covered img", timeout=WAIT)
    page.wait_for_timeout(700)
    page.click("#of-run")
    page.wait_for_function(DRAWN, arg=1, timeout=WAIT)
    page.wait_for_timeout(1000)
    last = page.locator("#of-viewer .of-plot").nth(2)
    last.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    (first,) = {tuple(camera) for camera in page.evaluate(CAMERAS)}
    was = page.evaluate("() => window.scrollY")

    _fingers(page, last, [(0.0, 0.0)], [(0.0, -120.0)])
    assert page.evaluate("() => window.scrollY") > was + 50
    assert page.evaluate(CAMERAS)[2] == pytest.approx(first)

    _fingers(page, last, [(0.0, 0.0)], [(60.0, 5.0)])
    one, two, three = page.evaluate(CAMERAS)
    assert one == pytest.approx(three, abs=1e-3)
    assert two == pytest.approx(three, abs=1e-3)
    assert abs(three[0] - first[0]) > 0.1

    _fingers(page, last, [(-20.0, 0.0), (20.0, 0.0)], [(-28.0, 0.0), (28.0, 0.0)])
    one, _, nearer = page.evaluate(CAMERAS)
    assert one == pytest.approx(nearer, abs=1e-3)
    assert sum(x * x for x in nearer) < 0.8 * sum(x * x for x in three)
    page.close()


def _fingers(
    page: "sync_api.Page",
    target: "sync_api.Locator",
    start: list[tuple[float, float]],
    end: list[tuple[float, float]],
) -> None:
    """Move fingers from places around the middle of `target` to other ones, as a hand would."""
    box = target.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)

    def send(kind: str, share: float) -> None:
        places = [
            {"x": x + a + share * (c - a), "y": y + b + share * (d - b), "id": i}
            for i, ((a, b), (c, d)) in enumerate(zip(start, end, strict=True))
        ]
        touched = [] if kind == "touchEnd" else places
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

    send("touchStart", 0.0)
    for step in range(1, 11):
        send("touchMove", step / 10)
        page.wait_for_timeout(40)
    send("touchEnd", 1.0)
    page.wait_for_timeout(1500)
