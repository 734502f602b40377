// A pair of layers as a matrix: a square where weights raise, a bar where they lower. Choosing a
// cell is reported with setTriggerValue("picked", "row.column"), "" for none.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 30;
const TOP = 24;
const LARGEST = 580;
const LARGEST_CELL = 40;
const FAINTEST = 0.16;

const views = new WeakMap();

export default function render({ data, parentElement, setTriggerValue }) {
  let view = views.get(parentElement);
  if (!view?.root.isConnected) {
    view?.stop();
    view = new PairMatrix(parentElement.querySelector(".matrix"));
    views.set(parentElement, view);
  }
  view.report = (id) => setTriggerValue("picked", id);
  view.update(data);
  return () => {
    view.stop();
    views.delete(parentElement);
  };
}

function svg(tag, attributes, parent) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent?.appendChild(element);
  return element;
}

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

class PairMatrix {
  constructor(root) {
    this.root = root;
    this.scroll = root.querySelector(".scroll");
    this.tip = root.querySelector(".tip");
    this.live = root.querySelector(".live");
    this.listen = () => this.hear();
    document.addEventListener("cgraph:cell", this.listen);
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.scroll);
    for (const button of root.querySelectorAll("[data-save]")) {
      button.onclick = () => this.save(button.dataset.save);
    }
  }

  stop() {
    this.observer.disconnect();
    document.removeEventListener("cgraph:cell", this.listen);
  }

  update(data) {
    if (data.revision === this.revision) return;
    this.revision = data.revision;
    this.picture = JSON.parse(data.picture);
    this.cells = new Map(this.picture.cells.map((cell) => [`${cell[0]}.${cell[1]}`, cell]));
    this.selected = "";
    this.place = null;
    this.size = null;
    this.draw();
    this.hear();
  }

  hear() {
    const told = document.cgraphCell;
    if (!told || told.revision !== this.revision) return;
    this.told = told;
    this.selected = told.cell;
    this.mark();
  }

  draw() {
    if (!this.picture || !this.scroll.clientWidth) return;
    const { rows, columns, cells, most, layers, rowGroups, columnGroups } = this.picture;
    const longest = Math.max(rows.length, columns.length, 1);
    const room = Math.min(this.scroll.clientWidth - LEFT - 2, LARGEST);
    const side = Math.max(3, Math.min(LARGEST_CELL, room / longest));
    if (this.size === side && this.drawn === this.picture) return;
    const focused = this.canvas && this.root.getRootNode().activeElement === this.canvas;
    this.size = side;
    this.drawn = this.picture;
    const width = LEFT + columns.length * side + 2;
    const height = TOP + rows.length * side + 2;
    const canvas = svg("svg", {
      width, height, viewBox: `0 0 ${width} ${height}`, tabindex: "0", role: "application",
      "aria-label": `${this.picture.label} Rows are parents, columns children.`,
    });
    svg("rect", {
      class: "ground", x: LEFT, y: TOP, width: columns.length * side, height: rows.length * side,
    }, canvas);
    svg("text", { x: LEFT, y: 14 }, canvas).textContent = `children, layer ${layers[1]} →`;
    svg("text", {
      x: 0, y: 0, "text-anchor": "end", transform: `translate(16,${TOP}) rotate(-90)`,
    }, canvas).textContent = `← parents, layer ${layers[0]}`;
    const gap = side > 6 ? 0.5 : 0;
    for (const [row, column, , raising, lowering] of cells) {
      const raises = raising >= lowering;
      const strength = Math.sqrt((raising + lowering) / most);
      const tall = raises ? side - gap : Math.max(1, side * 0.36);
      svg("rect", {
        class: raises ? "raises" : "lowers",
        x: LEFT + column * side,
        y: TOP + row * side + (raises ? 0 : (side - tall) / 2),
        width: side - gap,
        height: tall,
        opacity: (FAINTEST + (1 - FAINTEST) * strength).toFixed(3),
      }, canvas);
    }
    for (const place of rowGroups) {
      const y = TOP + place * side;
      svg("path", { class: "group", d: `M${LEFT},${y}h${columns.length * side}` }, canvas);
    }
    for (const place of columnGroups) {
      const x = LEFT + place * side;
      svg("path", { class: "group", d: `M${x},${TOP}v${rows.length * side}` }, canvas);
    }
    this.bands = svg("g", { class: "bands" }, canvas);
    this.frame = svg("rect", { class: "chosen", width: side, height: side }, canvas);
    this.cursor = svg("rect", { class: "cursor", width: side, height: side }, canvas);
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("click", (event) => this.pick(this.at(event)));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => {
      if (canvas.matches(":focus-visible")) this.go(this.place || this.firstPlace());
    });
    canvas.addEventListener("blur", () => this.leave());
    this.scroll.replaceChildren(canvas);
    this.canvas = canvas;
    this.mark();
    if (focused) canvas.focus({ preventScroll: true });
  }

  firstPlace() {
    if (this.selected) return this.selected.split(".").map(Number);
    const strongest = [...this.picture.cells].sort((a, b) => b[3] + b[4] - a[3] - a[4])[0];
    return strongest ? [strongest[0], strongest[1]] : [0, 0];
  }

  mark() {
    if (!this.canvas) return;
    const side = this.size;
    const { rows, columns } = this.picture;
    const show = (rect, place) => {
      rect.style.display = place ? "" : "none";
      if (!place) return;
      rect.setAttribute("x", LEFT + place[1] * side);
      rect.setAttribute("y", TOP + place[0] * side);
    };
    show(this.frame, this.selected ? this.selected.split(".").map(Number) : null);
    show(this.cursor, this.place);
    this.bands.replaceChildren();
    const told = this.told || {};
    if (Number.isInteger(told.row) && told.row >= 0) {
      svg("path", { d: `M${LEFT - 9},${TOP + (told.row + 0.5) * side - 4}l7,4l-7,4z` }, this.bands);
      svg("rect", {
        x: LEFT, y: TOP + told.row * side, width: columns.length * side, height: side,
      }, this.bands);
    }
    if (Number.isInteger(told.column) && told.column >= 0) {
      svg("path", { d: `M${LEFT + (told.column + 0.5) * side - 4},${TOP - 7}l4,6l4,-6z` }, this.bands);
      svg("rect", {
        x: LEFT + told.column * side, y: TOP, width: side, height: rows.length * side,
      }, this.bands);
    }
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top - TOP) / this.size);
    const column = Math.floor((event.clientX - box.left - LEFT) / this.size);
    const inside = row >= 0 && column >= 0
      && row < this.picture.rows.length && column < this.picture.columns.length;
    return inside ? [row, column] : null;
  }

  point(event) {
    const place = this.at(event);
    if (place && this.cells.has(place.join("."))) this.show(place);
    else this.hide();
  }

  leave() {
    this.place = null;
    this.hide();
    this.mark();
  }

  lines(place) {
    const { rows, columns, layers } = this.picture;
    const cell = this.cells.get(place.join("."));
    const lines = [`${rows[place[0]][0]} → ${columns[place[1]][0]}`];
    if (!cell) return [...lines, "no edge"];
    const [, , n, raising, lowering, parent, child, weight] = cell;
    if (rows[place[0]][1] === 1 && columns[place[1]][1] === 1) {
      return [...lines, `weight ${signed(weight)}`];
    }
    lines.push(`${n} ${n === 1 ? "edge" : "edges"}: raising ${raising.toFixed(2)}, `
      + `lowering ${lowering.toFixed(2)}`);
    lines.push(`strongest: L${layers[0]}/${parent} → L${layers[1]}/${child}, ${signed(weight)}`);
    return lines;
  }

  show(place) {
    this.tip.replaceChildren();
    this.lines(place).forEach((line, i) => {
      const made = document.createElement(i ? "div" : "strong");
      made.textContent = line;
      this.tip.appendChild(made);
    });
    this.tip.classList.add("shown");
    const x = LEFT + (place[1] + 1) * this.size + this.scroll.offsetLeft - this.scroll.scrollLeft;
    const room = this.root.clientWidth - this.tip.offsetWidth;
    const left = x + 8 <= room ? x + 8 : x - this.size - this.tip.offsetWidth - 8;
    this.tip.style.left = `${Math.max(0, Math.min(left, room))}px`;
    this.tip.style.top = `${this.scroll.offsetTop + TOP + (place[0] + 1.3) * this.size}px`;
  }

  hide() {
    this.tip.classList.remove("shown");
  }

  go(place) {
    this.place = place;
    this.mark();
    this.show(place);
    this.live.textContent = this.lines(place).join(". ");
  }

  pick(place) {
    const id = place && this.cells.has(place.join(".")) ? place.join(".") : "";
    if (id === this.selected && !id) return;
    this.selected = id === this.selected ? "" : id;
    this.mark();
    this.report(this.selected);
    this.live.textContent = this.selected
      ? `${this.lines(place).join(". ")}. Its edges are listed.`
      : "No cell is selected.";
  }

  key(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (step) {
      let place = this.place || this.firstPlace();
      do {
        const next = [place[0] + step[0], place[1] + step[1]];
        if (!this.picture.rows[next[0]] || !this.picture.columns[next[1]]) break;
        place = next;
      } while (event.ctrlKey && !this.cells.has(place.join(".")));
      this.go(place);
    } else if (event.key === "Enter" || event.key === " ") {
      if (this.place) this.pick(this.place);
    } else if (event.key === "Escape" && this.selected) {
      this.pick(null);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  save(kind) {
    this.place = null;
    this.hide();
    this.mark();
    const { file, caption, notes } = this.picture;
    saveFigure(this.canvas, kind, { name: file, caption, notes });
  }
}
