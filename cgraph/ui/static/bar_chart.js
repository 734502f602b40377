// A histogram with marks below its bars. Bars say their figures when pointed at or focused; one
// stop of the Tab key, the arrow keys move from bar to bar.

const rendered = new WeakMap();
const SIZE = { height: 210, left: 46, right: 10, top: 8, bottom: 66 };
const SPACE = "http://www.w3.org/2000/svg";

export default function render({ data, parentElement }) {
  const chart = parentElement.querySelector(".chart");
  if (rendered.get(chart) === data.revision) return;
  rendered.set(chart, data.revision);
  const svg = chart.querySelector("svg");
  let drawn = 0;
  const fit = () => {
    const width = Math.max(260, Math.round(chart.clientWidth) || 640);
    if (width === drawn) return;
    drawn = width;
    draw(svg, data, width);
  };
  chart.watch?.disconnect();
  chart.watch = new ResizeObserver(fit);
  chart.watch.observe(chart);
  fit();
  offer(chart, data);
}

function add(parent, tag, attributes, text) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  parent.appendChild(element);
  return element;
}

function draw(svg, data, width) {
  const { height, left, right, top, bottom } = SIZE;
  svg.replaceChildren();
  for (const [name, value] of Object.entries({ width, height })) svg.setAttribute(name, value);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", `${data.title}. ${data.note}`);
  const [low, high] = [data.edges[0], data.edges[data.edges.length - 1]];
  const most = Math.max(1, ...data.counts);
  const x = (value) => left + ((value - low) / (high - low || 1)) * (width - left - right);
  const y = (value) => height - bottom - (value / most) * (height - top - bottom);
  for (const value of ticks(0, most, 3)) {
    add(svg, "line", { class: "rule", x1: left, x2: width - right, y1: y(value), y2: y(value) });
    const place = { class: "tick", x: left - 6, y: y(value) + 4, "text-anchor": "end" };
    add(svg, "text", place, value.toLocaleString("en"));
  }
  const bars = add(svg, "g", { class: "bars" });
  data.counts.forEach((count, n) => {
    const bar = add(bars, "rect", {
      class: "bar",
      x: x(data.edges[n]) + 0.5,
      y: y(count),
      width: Math.max(1, x(data.edges[n + 1]) - x(data.edges[n]) - 1),
      height: height - bottom - y(count),
      tabindex: n ? -1 : 0,
      role: "img",
    });
    const range = `${short(data.edges[n])} to ${short(data.edges[n + 1])}`;
    const text = `${count.toLocaleString("en")} ${data.up}, ${range}`;
    bar.setAttribute("aria-label", text);
    add(bar, "title", {}, text);
  });
  const base = height - bottom;
  add(svg, "line", { class: "axis", x1: left, x2: width - right, y1: base, y2: base });
  for (const value of ticks(low, high, 5)) {
    const place = { class: "tick", x: x(value), y: base + 16, "text-anchor": "middle" };
    add(svg, "text", place, short(value));
  }
  add(
    svg, "text",
    { class: "tick", x: (left + width - right) / 2, y: base + 32, "text-anchor": "middle" },
    data.across,
  );
  marks(svg, data, x, base + 44, width);
  bars.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const all = [...bars.children];
    const next = all[all.indexOf(event.target) + step];
    if (!next) return;
    for (const bar of all) bar.setAttribute("tabindex", bar === next ? 0 : -1);
    next.focus();
    event.preventDefault();
  };
}

/** Show where the pictures above lie: one line of signs for each kind. */
function marks(svg, data, x, top, width) {
  let free = 0;
  const signs = ["M0-4 4 4H-4Z", "M-3.5-3.5H3.5V3.5H-3.5Z", "M0 4 4-4H-4Z"];
  // From left to right, so that no word is written over another.
  [...data.marks.entries()].reverse().forEach(([n, mark]) => {
    const line = add(svg, "g", { class: "mark" });
    for (const place of mark.places) {
      add(line, "path", { d: signs[n % 3], transform: `translate(${x(place)},${top})` });
    }
    if (!mark.places.length) return;
    add(line, "title", {}, `${mark.name}: ${mark.places.map(short).join(", ")}`);
    const middle = mark.places.reduce((sum, place) => sum + place, 0) / mark.places.length;
    free = Math.max(x(middle), SIZE.left + 16, free);
    const place = Math.min(free, width - SIZE.right - 16);
    free += 46;
    add(line, "text", { class: "tick", x: place, y: top + 17, "text-anchor": "middle" }, mark.name);
  });
}

/** Return about `n` round values between two. */
function ticks(low, high, n) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + 1e-9 * span; k += 1) found.push(k * step);
  return found;
}

function short(value) {
  return Number(value.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });
}

function offer(chart, data) {
  const svg = chart.querySelector("svg");
  const group = chart.querySelector(".save");
  const figure = { name: data.file, caption: data.title, notes: data.note };
  const kinds = {
    SVG: () => saveFigure(svg, "svg", figure),
    PNG: () => saveFigure(svg, "png", figure),
    CSV: () => saveBlob(new Blob([data.csv], { type: "text/csv" }), `${data.file}.csv`),
  };
  group.replaceChildren(
    ...Object.entries(kinds).map(([kind, save]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind;
      button.setAttribute("aria-label", `Save the figure as ${kind}`);
      button.onclick = save;
      return button;
    }),
  );
}
