"""How soon the pages of a large sweep are painted, in a headless Chromium on this machine.

    cargo bench -p coordinator --bench load -- trials --trials 10000 --epochs 6 --keep STATE
    python3 deploy/tests/page_paint.py STATE
"""

import statistics
import sys

from browser import browser, coordinator
from selenium.webdriver.support.wait import WebDriverWait

ROUNDS = 7
PAINT = (
    "const it = performance.getEntriesByName('first-contentful-paint')[0];"
    "return it ? it.startTime : null"
)


def main():
    with coordinator(state=sys.argv[1]) as (address, _), browser() as page:
        for path in ["/", "/sweeps/load", "/sweeps/load/trials", "/sweeps/load/trials?sort=val_error"]:
            times = []
            for _ in range(ROUNDS):
                page.get("about:blank")
                page.get(address + path)
                times.append(WebDriverWait(page, 10).until(lambda page: page.execute_script(PAINT)))
            median, worst = statistics.median(times), max(times)
            print(f"{path}: first paint {median:.0f} ms (median of {ROUNDS}), {worst:.0f} ms at most")


if __name__ == "__main__":
    main()
