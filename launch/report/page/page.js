"use strict";
// Adds what a page without scripts does without: values under the pointer, light or dark by choice,
// a larger view of a picture.
(() => {
  const units = { x: 9600, y: 20000 };
  const short = v => Math.abs(v) >= 1e5 || (v !== 0 && Math.abs(v) < 1e-3) ? v.toExponential(3) : String(+v.toPrecision(4));

  // The points of a path, of moves and relative lines, in the units of its figure.
  const points = path => {
    if (!path.points) {
      let x = 0, y = 0;
      path.points = [...path.getAttribute("d").matchAll(/([Ml])(-?\d+) (-?\d+)/g)].map(([, kind, a, b]) => {
        x = kind === "M" ? +a : x + +a;
        y = kind === "M" ? +b : y + +b;
        return [x, y];
      });
    }
    return path.points;
  };
  const nearest = (list, x) => list.reduce((best, p) => Math.abs(p[0] - x) < Math.abs(best[0] - x) ? p : best);

  const show = (plot, event) => {
    const svg = [...plot.children].find(e => e.tagName === "svg" && e.clientWidth > 0);
    const box = svg.getBoundingClientRect(), outer = plot.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    const [x0, x1] = svg.dataset.x.split(" ").map(Number), [y0, y1] = svg.dataset.y.split(" ").map(Number);
    const log = svg.classList.contains("log"), stacked = plot.parentNode.classList.contains("stacked");
    const value = y => log ? y1 * (y0 / y1) ** (y / units.y) : y1 + (y0 - y1) * y / units.y;
    const series = [...svg.querySelectorAll("g[data-name]")].filter(g => getComputedStyle(g).display !== "none")
      .map(g => ({ g, list: points(g.querySelector(".line")) })).filter(s => s.list.length > 0);
    hide(plot);
    if (series.length === 0) return;
    const x = series.map(s => nearest(s.list, share * units.x)[0])
      .reduce((a, b) => Math.abs(b - share * units.x) < Math.abs(a - share * units.x) ? b : a);
    const cross = document.createElement("div"), tip = document.createElement("div"), head = document.createElement("b");
    cross.className = "cross";
    tip.className = "tip";
    const at = x0 + (x1 - x0) * x / units.x;
    head.textContent = `${svg.dataset.at} ${svg.dataset.at === "step" ? Math.round(at) : short(at)}`;
    tip.append(head);
    let below = 0;
    for (const { g, list } of series) {
      const row = document.createElement("span"), name = document.createElement("i");
      const top = value(nearest(list, x)[1]);
      row.className = g.getAttribute("class");
      name.textContent = g.dataset.name;
      row.append(name, `${short(stacked ? top - below : top)} ${svg.dataset.unit}`);
      tip.append(row);
      below = top;
    }
    const left = box.left - outer.left + box.width * x / units.x;
    cross.style.left = `${left}px`;
    plot.append(cross, tip);
    tip.style.left = `${left > outer.width / 2 ? Math.max(left - tip.offsetWidth - 12, 0) : left + 12}px`;
  };
  const hide = plot => plot.querySelectorAll(".cross, .tip").forEach(e => e.remove());

  for (const plot of document.querySelectorAll(".plot")) {
    plot.addEventListener("pointermove", event => show(plot, event));
    plot.addEventListener("pointerdown", event => show(plot, event));
    plot.addEventListener("pointerleave", () => hide(plot));
  }

  for (const strip of document.querySelectorAll(".strip"))
    strip.addEventListener("click", event => {
      const large = strip.parentNode.querySelector(".large"), small = event.target.closest("figure");
      if (event.target.tagName !== "IMG") return;
      large.querySelector("img").src = event.target.src;
      large.querySelector("figcaption").textContent = small.querySelector("figcaption").textContent;
    });

  const dark = document.getElementById("dark"), prefers = dark.media, button = document.createElement("button");
  const isDark = () => matchMedia(dark.media).matches;
  const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    dark.media = next === "dark" ? "all" : "not all";
    document.documentElement.style.colorScheme = next;
    label();
  });
  matchMedia(prefers).addEventListener("change", label);
  label();
  document.querySelector(".bar > div").append(button);
})();
