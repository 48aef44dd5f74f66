#!/usr/bin/env python3
"""Tables of tests/bench/samplers.sh as a picture: distance against network evaluations, a panel a run.

  samplers_plot.py OUT.svg TITLE=TABLE.md [TITLE=TABLE.md ...]

Both axes are logarithmic; the dashed line is the distance of two halves of the held-out data.
"""
import math
import sys

SOLVERS = ["ddim", "ddpm", "heun", "dpm-2m", "dpm-3m", "dpm-sde", "em", "pc", "consistency"]
COLOURS = ["#0b5fa5", "#7aa8d2", "#c23b22", "#1b7f4b", "#7cc29a", "#b98a00", "#8b5aa8", "#7f7f7f", "#111111"]
WIDTH, HEIGHT, LEFT, TOP, COLUMNS = 280, 210, 46, 30, 3
LEAST, MOST, FEW, MANY = 1.0, 200.0, 1, 40


def read(path):
    """{solver: [(evaluations, distance)]}, distance of the halves."""
    curves, floor, names = {}, None, []
    for line in open(path, encoding="utf-8"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| evaluations"):
            names = cells[1:]
        elif line.startswith("Two halves"):
            floor = float(line.rsplit("/", 1)[1])
        elif line.startswith("| ") and names:
            for name, cell in zip(names, cells[1:]):
                curves.setdefault(name, []).append((int(cells[0]), float(cell.rsplit("/", 1)[1])))
    if not curves or floor is None:
        sys.exit(f"{path}: is no whole table of samplers.sh")
    return curves, floor


def place(evaluations, distance):
    x = math.log(evaluations / FEW) / math.log(MANY / FEW) * (WIDTH - 70)
    y = math.log(MOST / max(distance, LEAST)) / math.log(MOST / LEAST) * (HEIGHT - 60)
    return x, y


def panel(title, curves, floor, at_x, at_y):
    out = [f'<g transform="translate({at_x + LEFT},{at_y + TOP})">',
           f'<text x="0" y="-10" class="title">{title}</text>',
           f'<rect width="{WIDTH - 70}" height="{HEIGHT - 60}" class="frame"/>']
    for distance in (1, 2, 5, 10, 20, 50, 100):
        y = place(1, distance)[1]
        out.append(f'<line x1="0" x2="{WIDTH - 70}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
                   f'<text x="-6" y="{y + 3:.1f}" class="left">{distance}</text>')
    for evaluations in (1, 2, 4, 8, 16, 32):
        x = place(evaluations, 1)[0]
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - 46}" class="below">{evaluations}</text>')
    y = place(1, floor)[1]
    out.append(f'<line x1="0" x2="{WIDTH - 70}" y1="{y:.1f}" y2="{y:.1f}" class="floor"/>')
    for name, points in curves.items():
        colour = COLOURS[SOLVERS.index(name)]
        way = " ".join("%.1f,%.1f" % place(*point) for point in points)
        out.append(f'<polyline points="{way}" stroke="{colour}" class="curve"/>')
        for point in points:
            out.append('<circle cx="%.1f" cy="%.1f" r="2.2" fill="%s"/>' % (*place(*point), colour))
    out.append("</g>")
    return out


def main():
    if len(sys.argv) < 3 or "=" not in sys.argv[2]:
        sys.exit(__doc__)
    tables = [word.split("=", 1) for word in sys.argv[2:]]
    rows = (len(tables) + COLUMNS) // COLUMNS  # one place is the legend's
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{COLUMNS * WIDTH}" height="{rows * HEIGHT}">',
           "<style>text{font:11px sans-serif;fill:#222}.title{font-weight:bold}.left{text-anchor:end}"
           ".below{text-anchor:middle}.frame{fill:none;stroke:#888}.grid{stroke:#e4e4e4}"
           ".floor{stroke:#222;stroke-dasharray:3 3}.curve{fill:none;stroke-width:1.6}</style>",
           '<rect width="100%" height="100%" fill="#fff"/>']
    seen = set()
    for i, (title, path) in enumerate(tables):
        curves, floor = read(path)
        seen |= set(curves)
        out += panel(title, curves, floor, i % COLUMNS * WIDTH, i // COLUMNS * HEIGHT)
    at_x, at_y = len(tables) % COLUMNS * WIDTH + LEFT, len(tables) // COLUMNS * HEIGHT + TOP
    out.append(f'<text x="{at_x}" y="{at_y - 10}">Frechet distance by network evaluations</text>')
    for row, name in enumerate(name for name in SOLVERS if name in seen):
        y = at_y + 10 + 15 * row
        out.append(f'<line x1="{at_x}" x2="{at_x + 24}" y1="{y}" y2="{y}" stroke="{COLOURS[SOLVERS.index(name)]}"'
                   f' class="curve"/><text x="{at_x + 30}" y="{y + 4}">{name}</text>')
    out.append("</svg>")
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
