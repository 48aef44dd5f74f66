#!/usr/bin/env python3
"""Looks at what dye report has written, and at pictures of it. Python alone is enough.

    check_page.py page FILE [TEXT ...]   well-formed, stands alone, and shows each of these texts
    check_page.py shown LIGHT DARK       two screenshots: neither blank, the second one on dark ground
"""
import re
import struct
import sys
import zlib
from html.parser import HTMLParser

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.found, self.ids, self.wanted = [], [], set(), []
        self.text, self.scripts, self.pictures = [], 0, 0
        self.feed(text)
        self.close()
        if self.open:
            self.say(f"not closed: {self.open}")
        for name in self.wanted:
            if name not in self.ids:
                self.say(f"nothing is called {name}")

    def say(self, what):
        self.found.append(f"line {self.getpos()[0]}: {what}")

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.look(tag, attributes)

    def handle_startendtag(self, tag, attributes):
        self.look(tag, attributes)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.say(f"</{tag}> closes something else")

    def look(self, tag, attributes):
        self.scripts += tag == "script"
        self.pictures += tag == "img"
        if tag in ("iframe", "object", "embed", "link", "base", "form"):
            self.say(f"<{tag}>")
        names = [name for name, _ in attributes]
        if len(set(names)) != len(names):
            self.say(f"<{tag}> has an attribute twice")
        for name, value in attributes:
            value = value or ""
            if name.startswith("on"):
                self.say(f"{name} of <{tag}>")
            if name in ("src", "href", "srcset", "xlink:href", "action", "data", "poster"):
                if not re.match(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}$|#\w+$", value):
                    self.say(f"{name} of <{tag}> is {value[:80]}")
                if value.startswith("#"):
                    self.wanted.append(value[1:])
            if name == "for":
                self.wanted.append(value)
            if name == "id":
                if value in self.ids:
                    self.say(f"{value} is there twice")
                self.ids.add(value)
            if name in ("d", "points") and re.search(r"[^MlhvZ0-9 .-]", value):
                self.say(f"a path of {value[:40]}")

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def check_page(path, wanted):
    with open(path, encoding="utf-8") as file:
        source = file.read()
    page = Page(source)
    found = page.found
    if page.scripts != 1:
        found.append(f"{page.scripts} scripts instead of 1")
    found += [f"refers to {place}" for place in re.findall(r"\w+://[^\s\"'<>]*", source)]
    found += [f"has {place}" for place in re.findall(r"url\(|@import|srcdoc", source)]
    shown = " ".join(" ".join(page.text).split())
    found += [f"does not show '{text}'" for text in wanted if " ".join(text.split()) not in shown]
    found += ["was asked for an empty text" for text in wanted if not text.strip()]
    print(f"{len(source)} characters, {page.pictures} pictures")
    return found


def read_png(path):
    """Width, height, and the pixels of some rows as (red, green, blue)."""
    with open(path, "rb") as file:
        data = file.read()
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, bits, colour = struct.unpack(">IIBB", body[:10])
        if kind == b"IDAT":
            packed += body
        at += 12 + size
    each = {2: 3, 6: 4}[colour]
    raw, before, rows = zlib.decompress(packed), bytearray(width * each), []
    for y in range(height):
        start = y * (width * each + 1)
        row = bytearray(raw[start + 1:start + 1 + width * each])
        unfilter(raw[start], row, before, each)
        rows.append([tuple(row[i:i + 3]) for i in range(0, len(row), each)] if y % 8 == 4 else None)
        before = row
    return width, height, [row for row in rows if row]


def unfilter(kind, row, before, each):
    for i in range(len(row)):
        left = row[i - each] if i >= each else 0
        corner = before[i - each] if i >= each else 0
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = before[i]
        elif kind == 3:
            guess = (left + before[i]) // 2
        elif kind == 4:
            base = left + before[i] - corner
            guess = min((abs(base - left), 0, left), (abs(base - before[i]), 1, before[i]),
                        (abs(base - corner), 2, corner))[2]
        else:
            return
        row[i] = (row[i] + guess) & 255


def check_shown(light, dark):
    found, ground = [], {}
    for path in (light, dark):
        width, height, rows = read_png(path)
        count = {}
        for row in rows:
            for pixel in row:
                count[pixel] = count.get(pixel, 0) + 1
        ground[path] = rows[-1][2]
        print(f"{width} x {height}, {len(count)} colours, ground {ground[path]}")
        if len(count) < 40:
            found.append(f"{path}: {len(count)} colours: it is blank")
    if sum(ground[light]) < 600 or sum(ground[dark]) > 150:
        found.append("the ground is not light, then dark")
    return found


def main():
    found = check_page(sys.argv[2], sys.argv[3:]) if sys.argv[1] == "page" else check_shown(*sys.argv[2:4])
    for line in found:
        print(line)
    return 1 if found else 0


sys.exit(main())
