// What every figure on a page is shown with: it is drawn as SVG, read with the pointer or the arrow keys, saved as SVG, PNG or CSV, or
// shown as a table. Choosing something with an id is reported with setTriggerValue("picked", id).
// A dot is moved by "cgraph:dots" on the document, whose detail says where dots are by name.

const MOST_ROWS = 300; // of the table on the page; CSV has all
const WORLDS = {
  balanced: "balanced world",
  natural: "natural world",
  both: "the same in both worlds",
  none: "",
};
const FORMULA = /^[=+\-@\t\r]/;

const views = new WeakMap();

/** Show a figure in its component; called again when its data change. */
function showFigure({ data, parentElement, setTriggerValue }) {
  let view = views.get(parentElement);
  if (!view?.root.isConnected) {
    view?.stop();
    view = new FigureView(parentElement.querySelector(".figure"));
    views.set(parentElement, view);
  }
  view.report = (id) => setTriggerValue("picked", id);
  view.update(data);
}

function stopFigure(parentElement) {
  views.get(parentElement)?.stop();
  views.delete(parentElement);
}

export default function render() {
  if (document.cgraphFigures) return;
  document.cgraphFigures = { show: showFigure, stop: stopFigure };
  document.dispatchEvent(new CustomEvent("cgraph:figures"));
}

class FigureView {
  constructor(root) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(FIGURE_CSS);
    root.getRootNode().adoptedStyleSheets.push(sheet);
    this.root = root;
    this.frame = root.querySelector(".frame");
    this.tip = root.querySelector(".tip");
    this.table = root.querySelector(".table");
    this.drawing = new FigureDrawing(this.frame);
    this.place = -1;
    this.listen = () => this.hear();
    document.addEventListener("cgraph:dots", this.listen);
    this.frame.addEventListener("pointermove", (event) => this.point(event));
    this.frame.addEventListener("pointerleave", () => this.leave());
    this.frame.addEventListener("click", (event) => {
      this.point(event);
      this.choose();
    });
    this.frame.addEventListener("keydown", (event) => this.key(event));
    this.frame.addEventListener("blur", () => this.leave());
    for (const button of root.querySelectorAll("[data-save]")) {
      button.onclick = () => this.save(button.dataset.save);
    }
    this.button = root.querySelector(".as-table");
    this.button.onclick = () => this.toggleTable();
  }

  stop() {
    this.drawing.observer.disconnect();
    document.removeEventListener("cgraph:dots", this.listen);
  }

  update(data) {
    if (data.revision === this.revision) return;
    this.revision = data.revision;
    this.figure = JSON.parse(data.figure);
    const { title, world, summary } = this.figure;
    this.root.querySelector(".title").textContent = title;
    const badge = this.root.querySelector(".world");
    badge.textContent = WORLDS[world];
    badge.className = `world ${world}`;
    this.root.querySelector(".summary").textContent = summary;
    // With its world: two figures may differ in nothing else.
    const named = WORLDS[world] ? `${title}, ${WORLDS[world]}` : title;
    this.figure.named = named;
    this.frame.setAttribute("aria-label", `${named}. The arrow keys read its values.`);
    for (const button of this.root.querySelectorAll("button")) {
      const what = button.dataset.save
        ? `Save “${named}” as ${button.dataset.save.toUpperCase()}`
        : `Show “${named}” as a table`;
      button.setAttribute("aria-label", what);
      button.title = what;
    }
    this.leave();
    this.drawing.show(this.figure);
    this.table.replaceChildren();
    if (this.button.getAttribute("aria-expanded") === "true") this.fillTable();
    this.hear();
  }

  /** Move the dots that are this figure's. */
  hear() {
    for (const [name, place] of Object.entries(document.cgraphDots || {})) {
      this.drawing.move(name, place);
    }
  }

  // ---- reading values

  point(event) {
    const box = this.drawing.canvas?.getBoundingClientRect();
    const items = this.drawing.items;
    if (!box || !items.length) return;
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const distance = (item) =>
      item.by === "x" ? Math.abs(item.x - x) : Math.hypot(item.x - x, item.y - y);
    let best = 0;
    items.forEach((item, place) => {
      if (distance(item) < distance(items[best])) best = place;
    });
    if (distance(items[best]) > 40) this.leave();
    else this.read(best);
  }

  read(place) {
    const { items, halo } = this.drawing;
    this.place = place;
    const item = items[place];
    halo.setAttribute("display", "inline");
    halo.setAttribute("cx", item.x);
    halo.setAttribute("cy", item.y);
    this.tip.textContent = item.text;
    this.tip.classList.add("shown");
    this.frame.classList.toggle("choosable", Boolean(item.id));
    const room = this.frame.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(item.x - this.tip.offsetWidth / 2, room))}px`;
    const above = item.y - this.tip.offsetHeight - 12;
    this.tip.style.top = `${above >= 0 ? above : item.y + 14}px`;
  }

  leave() {
    this.place = -1;
    this.tip.classList.remove("shown");
    this.drawing.halo?.setAttribute("display", "none");
  }

  key(event) {
    const { items } = this.drawing;
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (step && items?.length) {
      const order = this.order();
      const next = Math.min(order.length - 1, Math.max(0, order.indexOf(this.place) + step));
      this.read(order[next]);
      this.root.querySelector(".live").textContent = items[order[next]].text;
    } else if ((event.key === "Enter" || event.key === " ") && this.place >= 0) {
      this.choose();
    } else if (event.key === "Escape") {
      this.leave();
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Return the places of the items from left to right. */
  order() {
    const { items } = this.drawing;
    return items.map((_, place) => place).sort((a, b) => items[a].x - items[b].x || a - b);
  }

  choose() {
    const id = this.drawing.items?.[this.place]?.id;
    if (id) this.report(id);
  }

  // ---- taking away

  save(kind) {
    const { title, about, world, file, summary } = this.figure;
    if (kind === "csv") {
      saveBlob(new Blob([this.csv()], { type: "text/csv" }), `${file}.csv`);
      return;
    }
    this.leave();
    const worlds = WORLDS[world] ? ` · ${WORLDS[world]}, held-out images` : "";
    const caption = `${title} · ${about}${worlds}`;
    saveFigure(this.drawing.canvas, kind, { name: file, caption, notes: `${summary} · cgraph` });
  }

  csv() {
    const cell = (value) => {
      if (value === null) return "";
      if (typeof value !== "string") return String(value);
      const text = FORMULA.test(value) ? `'${value}` : value;
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = [this.figure.columns, ...this.figure.rows];
    return `${lines.map((line) => line.map(cell).join(",")).join("\n")}\n`;
  }

  toggleTable() {
    const open = this.button.getAttribute("aria-expanded") !== "true";
    this.button.setAttribute("aria-expanded", String(open));
    if (open) this.fillTable();
    else this.table.replaceChildren();
  }

  fillTable() {
    const { columns, rows, title } = this.figure;
    const add = (parent, tag, text) => {
      const made = document.createElement(tag);
      if (text !== undefined) made.textContent = text;
      parent.appendChild(made);
      return made;
    };
    const table = document.createElement("table");
    add(table, "caption", rows.length > MOST_ROWS
      ? `${title}: the first ${MOST_ROWS} of ${rows.length.toLocaleString("en")} rows; CSV has all`
      : title);
    const head = add(add(table, "thead"), "tr");
    for (const name of columns) add(head, "th", name).scope = "col";
    const body = add(table, "tbody");
    for (const row of rows.slice(0, MOST_ROWS)) {
      const line = add(body, "tr");
      for (const value of row) add(line, "td", value === null ? "" : String(value));
    }
    this.table.replaceChildren(table);
  }
}
