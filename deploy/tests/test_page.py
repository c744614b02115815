"""The web page in a real browser, while a real sweep runs: it shows the sweep finish without a
reload, every link works, nothing is fetched from elsewhere, nothing is complained of.

Run by `make test`; skipped with a message where chromium, chromedriver or selenium is missing.
"""

import unittest
import urllib.parse

from browser import browser, coordinator, wait_for

SWEEP = [
    "--sweep",
    "sweeps/quickstart.yaml",
    "--set",
    "grid.depth=[2,4]",
    "--set",
    "base.epochs=4",
    "--set",
    "expect=[]",
]
PAGES = ["/", "/workers", "/sweeps/quickstart", "/sweeps/quickstart/trials"]


def text(page):
    return page.find_element("css selector", "main").text


class Page(unittest.TestCase):
    def test_a_sweep_is_seen_to_its_end(self):
        with browser() as page, coordinator(*SWEEP, "--local") as (address, _):
            page.get(f"{address}/sweeps/quickstart")
            wait_for("the connection", lambda: page.find_element("id", "live").text == "live")
            page.execute_script("window.isSameDocument = true")
            wait_for("the end", lambda: "12: 12 completed" in text(page))
            self.assertIn("test_error in %", text(page))
            self.assertTrue(page.execute_script("return window.isSameDocument"), "reloaded")
            self.check_links(page, address)
            self.check_keyboard(page, address)
            self.check_complaints(page)

    def test_an_end_between_page_and_news_is_seen(self):
        """The connection is held back until the sweep has ended: no news come after it."""
        held = "window.EventSource = class { constructor(url) { window.asked = [url, this]; } };"
        with browser() as page, coordinator(*SWEEP, "--local") as (address, _):
            script = {"source": "window.RealSource = window.EventSource;" + held}
            made = page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
            page.get(f"{address}/sweeps/quickstart")
            self.assertNotIn("12: 12 completed", text(page), "it has ended before it was looked at")
            ended = (
                "const [url, done] = arguments; fetch(url).then((it) => it.json()).then(done)"
            )
            of_sweep = f"{address}/api/v1/sweeps/quickstart"
            wait_for(
                "the end",
                lambda: page.execute_async_script(ended, of_sweep)["state"] == "completed",
            )
            page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", made)
            page.execute_script(
                "const [url, held] = window.asked; const real = new window.RealSource(url);"
                "real.onmessage = (event) => held.onmessage(event);"
            )
            wait_for("the end on the page", lambda: "12: 12 completed" in text(page))

    def test_many_windows_are_served(self):
        """A browser has six connections for a host; windows in the background need none."""
        with browser() as page, coordinator(*SWEEP) as (address, _):
            page.set_page_load_timeout(20)
            for _ in range(9):
                page.switch_to.new_window("tab")
                page.get(address)
                wait_for("the news", lambda: page.find_element("id", "live").text == "live")

    def check_links(self, page, address):
        """Every link of every page, and figures that are drawn."""
        seen, left = set(), [f"{address}/"]
        while left:
            url = left.pop().split("#")[0]
            if url in seen:
                continue
            seen.add(url)
            status = page.execute_async_script(
                "const [url, done] = arguments; fetch(url).then((it) => done([it.status, "
                "it.headers.get('content-type')]), (error) => done([String(error), '']))",
                url,
            )
            self.assertEqual(status[0], 200, url)
            if not status[1].startswith("text/html"):
                continue
            page.get(url)
            self.check_layout(page, url)
            links = page.find_elements("css selector", "a[href]")
            left += [link.get_attribute("href") for link in links]
        for path in PAGES:
            self.assertIn(address + path, seen)
        self.assertTrue(any("/trials/" in url for url in seen))
        self.assertTrue(any(url.endswith(".parquet") for url in seen))

    def check_layout(self, page, url):
        """Figures are there, nothing comes from elsewhere."""
        for image in page.find_elements("css selector", "img"):
            page.execute_script("arguments[0].scrollIntoView()", image)
            drawn = "return arguments[0].complete && arguments[0].naturalWidth"
            wait_for(f"a figure of {url}", lambda: page.execute_script(drawn, image))
        origin = urllib.parse.urlsplit(url).netloc
        fetched = "return performance.getEntriesByType('resource').map((it) => it.name)"
        for resource in page.execute_script(fetched):
            self.assertEqual(urllib.parse.urlsplit(resource).netloc, origin, resource)

    def check_keyboard(self, page, address):
        """The first key leads past the navigation; a column is sorted without a mouse."""
        from selenium.webdriver.common.keys import Keys

        page.get(f"{address}/sweeps/quickstart/trials")
        page.find_element("css selector", "body").send_keys(Keys.TAB)
        focused = page.switch_to.active_element
        self.assertEqual(focused.text, "Skip to content")
        focused.send_keys(Keys.ENTER)
        heading = page.find_element("partial link text", "depth")
        heading.send_keys(Keys.ENTER)
        sorted_by = "th[aria-sort='ascending']"
        wait_for("the order", lambda: page.find_elements("css selector", sorted_by))
        self.assertIn("depth", page.find_element("css selector", sorted_by).text)

    def check_complaints(self, page):
        complaints = [entry for entry in page.get_log("browser") if entry["level"] != "INFO"]
        self.assertEqual(complaints, [])

    def test_pages_fit_a_phone_in_light_and_dark(self):
        with coordinator(*SWEEP, "--local") as (address, _):
            grounds = set()
            for dark in [False, True]:
                with browser(390, 800, dark) as page:
                    page.get(f"{address}/sweeps/quickstart")
                    wait_for("the end", lambda: "12: 12 completed" in text(page))
                    for path in [*PAGES, "/sweeps/quickstart?kind=heat"]:
                        page.get(address + path)
                        width = page.execute_script("return document.body.scrollWidth")
                        self.assertLessEqual(width, 390, path)
                        self.check_layout(page, address + path)
                        self.check_figures_are_legible(page, path)
                    ground = "return getComputedStyle(document.body).backgroundColor"
                    grounds.add(page.execute_script(ground))
            self.assertEqual(len(grounds), 2, grounds)

    def check_figures_are_legible(self, page, path):
        """A figure is made for the width that it is shown at: its letters keep their size."""
        shown = "return [arguments[0].clientWidth, arguments[0].naturalWidth]"
        for image in page.find_elements("css selector", "img"):
            width, natural = page.execute_script(shown, image)
            self.assertGreater(width / natural, 0.85, path)


if __name__ == "__main__":
    unittest.main()
