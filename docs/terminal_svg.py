#!/usr/bin/env python3
"""Draws terminal text from standard input as an SVG picture.

    make demo 2>&1 | tail -n 20 | python3 docs/terminal_svg.py > docs/quickstart.svg
"""

import re
import sys
from html import escape

CHARACTER_PX, LINE_PX, SIZE_PX, MARGIN_PX = 8.43, 19, 14, 18
BACKGROUND, TEXT, PROMPT, BEST = "#10141a", "#d6dde6", "#7fb4ff", "#9be39b"
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def colour(line):
    return PROMPT if line.startswith("$ ") else TEXT


def spans(line):
    """The line with its best cells, those that a star marks, set apart."""
    text = escape(line)
    return re.sub(r"(\S+ ± \S+ \(\d+\) ?\*)", rf'<tspan fill="{BEST}">\1</tspan>', text)


def main():
    lines = [ANSI.sub("", line.rstrip("\r\n")) for line in sys.stdin]
    width = max(map(len, lines), default=1) * CHARACTER_PX + 2 * MARGIN_PX
    height = len(lines) * LINE_PX + 2 * MARGIN_PX
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}" role="img">'
    )
    print(f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>')
    print(
        f'<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{SIZE_PX}" '
        'xml:space="preserve">'
    )
    for index, line in enumerate(lines):
        y = MARGIN_PX + index * LINE_PX + SIZE_PX
        length = f' textLength="{len(line) * CHARACTER_PX:.1f}"' if line else ""
        print(f'<text x="{MARGIN_PX}" y="{y}" fill="{colour(line)}"{length}>{spans(line)}</text>')
    print("</g>\n</svg>")


if __name__ == "__main__":
    main()
