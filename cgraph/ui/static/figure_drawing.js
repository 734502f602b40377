// Drawing a figure as plain SVG: axes, marks and a legend, as wide as there is room. What a figure
// holds is described in cgraph/ui/charts/figure.py.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { top: 10, right: 24, bottom: 44, left: 54 };
const WIDEST_SQUARE = 430;
const TEXT = 12;
const LEGEND_LINE = 19;
const ALONG_LINES = 51; // places at which the values of lines can be read

function svg(tag, attributes, parent, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  parent?.appendChild(element);
  return element;
}

/** Write a value of an axis as people read it. */
function written(value, kind) {
  if (value === null) return "unknown";
  if (kind === "percent") return `${Number((100 * value).toPrecision(2))}\u00a0%`;
  if (kind === "whole") return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

let numbered = 0;

/** Outlines of the points of curves, about the origin. */
const MARKERS = {
  circle: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z",
  square: "M-3.6,-3.6H3.6V3.6H-3.6Z",
  triangle: "M0,-4.6L4.4,3.4H-4.4Z",
  wedge: "M0,4.6L4.4,-3.4H-4.4Z",
  diamond: "M0,-5L5,0L0,5L-5,0Z",
  cross: "M-1.4,-5H1.4V-1.4H5V1.4H1.4V5H-1.4V1.4H-5V-1.4H-1.4Z",
  star: "M0,-6.5L1.7,-2H6.2L2.6,0.9L4,5.4L0,2.7L-4,5.4L-2.6,0.9L-6.2,-2H-1.7Z",
  dash: "M-7,-1.5H7V1.5H-7Z",
};

/** What the patterns of blocks are drawn with, in a square of eight pixels. */
const PATTERNS = {
  full: [],
  hatch: ["M-2,2L2,-2M0,8L8,0M6,10L10,6"],
  crossed: ["M-2,2L2,-2M0,8L8,0M6,10L10,6", "M-2,6L2,10M0,0L8,8M6,-2L10,2"],
  dotted: ["M2,3h2v2h-2Z"],
  plain: [],
};

class FigureDrawing {
  constructor(frame) {
    this.frame = frame;
    this.figure = null;
    this.drawn = 0; // width for which it was drawn
    this.places = new Map(); // of the dots that other parts of the page move
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(frame);
  }

  show(figure) {
    this.figure = figure;
    this.drawn = 0;
    this.draw();
  }

  draw() {
    const room = this.frame.clientWidth;
    if (!this.figure || !room || room === this.drawn) return;
    this.drawn = room;
    const { x, y, marks, square, named, summary } = this.figure;
    const widest = square ? WIDEST_SQUARE + MARGIN.left + MARGIN.right : room;
    this.width = Math.min(room, widest);
    this.plot = { width: this.width - MARGIN.left - MARGIN.right };
    this.plot.height = square ? this.plot.width : this.figure.height;
    this.toX = (value) => MARGIN.left + ((value - x.low) / (x.high - x.low)) * this.plot.width;
    this.toY = (value) => MARGIN.top + (1 - (value - y.low) / (y.high - y.low)) * this.plot.height;
    const canvas = svg("svg", { role: "img", "aria-label": `${named}. ${summary}` });
    this.items = [];
    this.dots = new Map();
    this.drawAxes(canvas);
    for (const mark of marks) this[`draw_${mark.mark}`](canvas, mark);
    this.readLines(marks.filter((mark) => mark.mark === "line" && mark.label));
    this.halo = svg("circle", { class: "halo", r: 6, display: "none" }, canvas);
    const legend = this.drawLegend(canvas);
    const height = MARGIN.top + this.plot.height + MARGIN.bottom + legend;
    canvas.setAttribute("width", this.width);
    canvas.setAttribute("height", height);
    canvas.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    this.canvas?.remove();
    this.frame.prepend(canvas);
    this.canvas = canvas;
    for (const [name, place] of this.places) this.move(name, place);
  }

  drawAxes(canvas) {
    const { x, y } = this.figure;
    const [left, right] = [MARGIN.left, MARGIN.left + this.plot.width];
    const [top, bottom] = [MARGIN.top, MARGIN.top + this.plot.height];
    const axes = svg("g", { class: "axes" }, canvas);
    for (const tick of y.ticks) {
      svg("line", { class: "grid", x1: left, x2: right, y1: this.toY(tick), y2: this.toY(tick) }, axes);
      const at = { x: left - 7, y: this.toY(tick) + 4, "text-anchor": "end" };
      svg("text", at, axes, written(tick, y.kind));
    }
    const crowded = this.plot.width / x.ticks.length < 34;
    x.ticks.forEach((tick, place) => {
      svg("line", { class: "grid", x1: this.toX(tick), x2: this.toX(tick), y1: top, y2: bottom }, axes);
      if (crowded && place % 2) return;
      svg("text", { x: this.toX(tick), y: bottom + 17, "text-anchor": "middle" }, axes,
        written(tick, x.kind));
    });
    svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }, axes);
    svg("line", { class: "axis", x1: left, x2: left, y1: top, y2: bottom }, axes);
    const middle = (left + right) / 2;
    svg("text", { class: "name", x: middle, y: bottom + 36, "text-anchor": "middle" }, axes, x.label);
    const turn = `translate(14,${(top + bottom) / 2}) rotate(-90)`;
    svg("text", { class: "name", transform: turn, "text-anchor": "middle" }, axes, y.label);
  }

  draw_line(canvas, { x, y, style }) {
    let path = "";
    x.forEach((value, place) => {
      if (y[place] === null || value === null) return;
      path += `${path ? "L" : "M"}${this.toX(value).toFixed(1)},${this.toY(y[place]).toFixed(1)}`;
    });
    if (path) svg("path", { class: `line ${style}`, d: path }, canvas);
  }

  draw_bars(canvas, { edges, heights, tips }) {
    const group = svg("g", { class: "bars" }, canvas);
    heights.forEach((height, place) => {
      const [from, to] = [this.toX(edges[place]), this.toX(edges[place + 1])];
      const top = this.toY(height);
      const gap = to - from > 5 ? 1 : 0;
      const shape = { x: from + gap / 2, width: Math.max(0.5, to - from - gap), y: top };
      const bar = svg("rect", { ...shape, height: this.toY(0) - top }, group);
      this.items.push({ x: (from + to) / 2, y: top, text: tips[place], by: "x", shape: bar });
    });
  }

  draw_points(canvas, { x, y, low, high, tips, ids }) {
    const group = svg("g", { class: x.length > 300 ? "points many" : "points" }, canvas);
    x.forEach((value, place) => {
      if (value === null || y[place] === null) return;
      const at = { x: this.toX(value), y: this.toY(y[place]) };
      if (low) {
        const ends = { y1: this.toY(low[place]), y2: this.toY(high[place]) };
        svg("line", { class: "interval", x1: at.x, x2: at.x, ...ends }, group);
      }
      const shape = svg("circle", { cx: at.x, cy: at.y, r: x.length > 300 ? 2.5 : 4 }, group);
      this.items.push({ ...at, text: tips[place], id: ids[place], by: "distance", shape });
    });
  }

  draw_curve(canvas, { x, y, tips, style, marker, hollow }) {
    const group = svg("g", { class: `curve ${style}${hollow ? " hollow" : ""}` }, canvas);
    let path = "";
    let joined = false;
    x.forEach((value, place) => {
      if (y[place] === null) {
        joined = false;
        return;
      }
      path += `${joined ? "L" : "M"}${this.toX(value).toFixed(1)},${this.toY(y[place]).toFixed(1)}`;
      joined = true;
    });
    if (path.includes("L")) svg("path", { class: "through", d: path }, group);
    x.forEach((value, place) => {
      if (y[place] === null) return;
      const at = { x: this.toX(value), y: this.toY(y[place]) };
      const move = `translate(${at.x.toFixed(1)},${at.y.toFixed(1)})`;
      const shape = svg("path", { class: "marker", d: MARKERS[marker], transform: move }, group);
      this.items.push({ ...at, text: tips[place], by: "distance", shape });
    });
  }

  draw_blocks(canvas, { x, low, high, tips, style, width }) {
    const group = svg("g", { class: `blocks ${style}` }, canvas);
    const fill = this.pattern(group, style);
    x.forEach((value, place) => {
      if (low[place] === null || high[place] === null || high[place] <= low[place]) return;
      const [left, right] = [this.toX(value - width / 2), this.toX(value + width / 2)];
      const [bottom, top] = [this.toY(low[place]), this.toY(high[place])];
      const sides = { x: left, width: right - left, y: top, height: bottom - top };
      const shape = svg("rect", { class: "block", ...sides, fill }, group);
      const middle = { x: (left + right) / 2, y: (top + bottom) / 2 };
      this.items.push({ ...middle, text: tips[place], by: "distance", shape });
    });
  }

  /** Return what a block is filled with: a pattern that is told apart without colour. */
  pattern(group, style) {
    numbered += 1;
    const id = `cgraph-fill-${numbered}`;
    const square = { width: 8, height: 8, patternUnits: "userSpaceOnUse" };
    const pattern = svg("pattern", { id, ...square }, group);
    svg("rect", { class: "ground", ...square }, pattern);
    for (const d of PATTERNS[style]) svg("path", { class: "stroke", d }, pattern);
    return `url(#${id})`;
  }

  draw_cells(canvas, { x, y, cells, tips }) {
    const group = svg("g", { class: "cells" }, canvas);
    const most = Math.max(1, ...cells.map((cell) => cell[2]));
    cells.forEach(([i, j, n], place) => {
      const [left, right] = [this.toX(x[i]), this.toX(x[i + 1])];
      const [bottom, top] = [this.toY(y[j]), this.toY(y[j + 1])];
      const shape = svg("rect", { x: left, width: right - left, y: top, height: bottom - top }, group);
      shape.style.opacity = (0.15 + 0.8 * (Math.log1p(n) / Math.log1p(most))).toFixed(2);
      const middle = { x: (left + right) / 2, y: (top + bottom) / 2 };
      this.items.push({ ...middle, text: tips[place], by: "distance", shape });
    });
  }

  /** Draw the ink of the page through the picture's alpha channel, so that every theme has its own. */
  draw_picture(canvas, { uri }) {
    numbered += 1;
    const id = `cgraph-ink-${numbered}`;
    const whole = {
      x: MARGIN.left, y: MARGIN.top, width: this.plot.width, height: this.plot.height,
    };
    const mask = svg("mask", { id, maskUnits: "userSpaceOnUse", ...whole }, canvas);
    svg("image", { ...whole, href: uri, preserveAspectRatio: "none" }, mask);
    svg("rect", { class: "ink", ...whole, mask: `url(#${id})` }, canvas);
  }

  draw_rule(canvas, { at, axis, label, style }) {
    const { x, y } = this.figure;
    const group = svg("g", { class: `line-rule ${style}` }, canvas);
    if (axis === "y") {
      const height = this.toY(at);
      svg("line", { x1: this.toX(x.low), x2: this.toX(x.high), y1: height, y2: height }, group);
      svg("text", { x: this.toX(x.high) - 4, y: height - 5, "text-anchor": "end" }, group, label);
      return;
    }
    const place = this.toX(at);
    svg("line", { x1: place, x2: place, y1: this.toY(y.low), y2: this.toY(y.high) }, group);
    // Labels of neighbouring rules stand one below the other, and none leaves the figure.
    this.nRules = canvas === this.ruled ? this.nRules + 1 : 0;
    this.ruled = canvas;
    const width = this.pen().measureText(label).width;
    const room = this.width - 4 - width;
    const left = place + 5 <= room ? place + 5 : Math.max(MARGIN.left + 2, place - 5 - width);
    svg("text", { x: Math.min(left, room), y: MARGIN.top + 12 + 15 * this.nRules }, group, label);
  }

  /** Return what measures texts of the figure. */
  pen() {
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = `${TEXT}px ${getComputedStyle(this.frame).fontFamily}`;
    return pen;
  }

  draw_dot(canvas, { name }) {
    this.dots.set(name, svg("circle", { class: "dot", r: 6, display: "none" }, canvas));
  }

  /** Put a dot where some other part of the page says. */
  move(name, [x, y]) {
    this.places.set(name, [x, y]);
    const shape = this.dots?.get(name);
    if (!shape) return;
    if (x === null || y === null) {
      shape.setAttribute("display", "none");
      return;
    }
    shape.setAttribute("display", "inline");
    shape.setAttribute("cx", this.toX(x));
    shape.setAttribute("cy", this.toY(y));
  }

  /** Make the values of labelled lines readable at places along the x axis. */
  readLines(lines) {
    if (!lines.length || this.items.length) return;
    const { x, y } = this.figure;
    for (let place = 0; place < ALONG_LINES; place += 1) {
      const at = x.low + ((x.high - x.low) * place) / (ALONG_LINES - 1);
      const values = lines.map((line) => valueAt(line, at));
      const told = lines
        .map((line, number) => [line.label, values[number]])
        .filter(([, value]) => value !== null)
        .map(([label, value]) => `${label} ${written(value, y.kind)}`);
      const first = values.find((value) => value !== null);
      if (!told.length) continue;
      const text = `${x.label} ${written(at, x.kind)}: ${told.join("; ")}`;
      this.items.push({ x: this.toX(at), y: this.toY(first), text, by: "x" });
    }
  }

  drawLegend(canvas) {
    const entries = this.figure.marks.filter((mark) => mark.label && mark.mark !== "rule");
    if (!entries.length) return 0;
    const pen = this.pen();
    const group = svg("g", { class: "legend" }, canvas);
    let [x, y] = [MARGIN.left, MARGIN.top + this.plot.height + MARGIN.bottom + 10];
    for (const entry of entries) {
      const width = 34 + pen.measureText(entry.label).width;
      if (x > MARGIN.left && x + width > this.width) {
        x = MARGIN.left;
        y += LEGEND_LINE;
      }
      this.drawKey(group, entry, x, y);
      svg("text", { x: x + 27, y: y + 4 }, group, entry.label);
      x += width + 12;
    }
    return y - MARGIN.top - this.plot.height - MARGIN.bottom + 8;
  }

  drawKey(group, entry, x, y) {
    if (entry.mark === "line") {
      svg("path", { class: `line ${entry.style}`, d: `M${x},${y}L${x + 21},${y}` }, group);
    } else if (entry.mark === "curve") {
      const look = `curve ${entry.style}${entry.hollow ? " hollow" : ""}`;
      const key = svg("g", { class: look }, group);
      if (entry.x.length > 1) svg("path", { class: "through", d: `M${x},${y}L${x + 21},${y}` }, key);
      const move = `translate(${x + 10.5},${y})`;
      svg("path", { class: "marker", d: MARKERS[entry.marker], transform: move }, key);
    } else if (entry.mark === "blocks") {
      const key = svg("g", { class: `blocks ${entry.style}` }, group);
      const sides = { x: x + 1, y: y - 7, width: 20, height: 13 };
      svg("rect", { class: "block", ...sides, fill: this.pattern(key, entry.style) }, key);
    } else if (entry.mark === "picture") {
      const shades = [0.15, 0.45, 0.9];
      shades.forEach((shade, place) => {
        const box = svg("rect", { class: "ink", x: x + 7 * place, y: y - 5, width: 7, height: 10 }, group);
        box.style.opacity = shade;
      });
    } else if (entry.mark === "bars") {
      svg("rect", { x: x + 4, y: y - 5, width: 13, height: 10 }, svg("g", { class: "bars" }, group));
    } else {
      const kind = entry.mark === "dot" ? "dot" : "";
      svg("circle", { class: kind, cx: x + 10, cy: y, r: 4.5 }, svg("g", { class: "points" }, group));
    }
  }
}

/** Return the value of a line at x, between its points; null outside of them. */
function valueAt({ x, y }, at) {
  const after = x.findIndex((value) => value !== null && value >= at - 1e-9);
  if (after < 0 || y[after] === null) return null;
  if (after === 0) return Math.abs(x[0] - at) < 1e-9 ? y[0] : null;
  const before = after - 1;
  if (y[before] === null) return y[after];
  const share = (at - x[before]) / (x[after] - x[before] || 1);
  return y[before] + share * (y[after] - y[before]);
}
