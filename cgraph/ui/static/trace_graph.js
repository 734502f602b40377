// The layered graph of one image: a column per layer, concepts as pictures, edges between them.
//
// Python sends a picture once per image. Hovering, moving with the keys and lighting paths happen
// here; choosing a concept is reported with setTriggerValue("picked", id), "" for none.

const SVG = "http://www.w3.org/2000/svg";
const NARROWEST_COLUMN = 64; // pixels; a narrower frame scrolls
const ROW = { tallest: 70, lowest: 40, room: 600 }; // without names, which need more
const LABEL = { id: 17, names: 28 }; // pixels below a thumbnail: bar and id; bar, name and id
const NAME_PX = 11; // as in the style sheet
const HEAD = 30;
const WIDEST_EDGE = 6;
const ANSWER_MS = 3000; // how long a choice made here outranks what Python last said

const views = new WeakMap();

export default function render({ data, parentElement, setTriggerValue }) {
  let view = views.get(parentElement);
  if (!view?.root.isConnected) {
    view?.stop();
    view = new TraceGraph(parentElement.querySelector(".trace"));
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

function html(tag, className, text, parent) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  parent?.appendChild(element);
  return element;
}

/** Return a function that cuts a name, with an ellipsis, so that it is at most `room` wide. */
function shortener(root, room) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `600 ${NAME_PX}px ${getComputedStyle(root).fontFamily}`;
  const fits = (text) => pen.measureText(text).width <= room;
  return (name) => {
    if (fits(name)) return name;
    let length = name.length - 1;
    while (length > 1 && !fits(`${name.slice(0, length).trimEnd()}…`)) length -= 1;
    return `${name.slice(0, length).trimEnd()}…`;
  };
}

class TraceGraph {
  constructor(root) {
    this.root = root;
    this.scroll = root.querySelector(".scroll");
    this.tip = root.querySelector(".tip");
    this.live = root.querySelector(".live");
    this.revision = null;
    this.selected = null;
    this.asked = null; // what was reported and is not yet confirmed
    this.observer = new ResizeObserver(() => this.layOut());
    this.observer.observe(this.scroll);
    root.addEventListener("keydown", (event) => this.key(event));
    this.scroll.addEventListener("click", () => this.pick(null));
    this.scroll.addEventListener("scroll", () => this.hideTip());
  }

  stop() {
    this.observer.disconnect();
  }

  update(data) {
    const told = data.selected || null;
    if (this.asked && (this.asked.id === told || performance.now() > this.asked.until)) {
      this.asked = null;
    }
    if (data.revision !== this.revision) {
      this.revision = data.revision;
      this.asked = null;
      this.draw(JSON.parse(data.picture));
      this.select(told);
    } else if (!this.asked && told !== this.selected) {
      this.select(told);
    }
  }

  // ---- drawing

  draw(picture) {
    this.picture = picture;
    this.nodes = [];
    this.byId = new Map();
    const canvas = svg("svg", { role: "group", "aria-label": picture.label });
    this.columns = svg("g", { class: "columns" }, canvas);
    const edgeLayer = svg("g", { class: "edges", "aria-hidden": "true" }, canvas);
    const nodeLayer = svg("g", { class: "nodes" }, canvas);
    picture.layers.forEach((layer, column) => {
      const head = svg("text", { class: "head", "text-anchor": "middle", y: 14 }, this.columns);
      head.textContent = layer.name;
      layer.nodes.forEach((node, row) => this.addNode({ ...node, column, row }, nodeLayer));
      layer.head = head;
    });
    this.edges = picture.edges.map(([parent, child, weight, strong]) => {
      const kind = weight < 0 ? "edge lowers" : "edge raises";
      const path = svg("path", { class: strong ? kind : `${kind} weak` }, edgeLayer);
      path.style.strokeWidth = `${0.7 + WIDEST_EDGE * (Math.abs(weight) / picture.widest)}px`;
      const edge = { parent, child, path, strong };
      this.nodes[parent].edges.push(edge);
      this.nodes[child].edges.push(edge);
      return edge;
    });
    this.scroll.replaceChildren(canvas);
    this.canvas = canvas;
    this.hideTip();
    this.layOut();
  }

  addNode(node, parent) {
    const place = this.nodes.length;
    const group = svg("g", { class: "node", role: "button", tabindex: "-1" }, parent);
    group.setAttribute("aria-label", node.label);
    group.setAttribute("aria-pressed", "false");
    group.dataset.id = node.id;
    Object.assign(node, { place, group, edges: [] });
    node.clip = svg("rect", { class: "back" }, group);
    node.image = svg("image", { href: node.image, preserveAspectRatio: "xMidYMid slice" }, group);
    node.frame = svg("rect", { class: "frame" }, group);
    node.track = svg("rect", { class: "track" }, group);
    node.bar = svg("rect", { class: "bar" }, group);
    node.title = node.name ? svg("text", { class: "name", "text-anchor": "middle" }, group) : null;
    const kind = node.name ? "id under" : "id";
    node.text = svg("text", { class: kind, "text-anchor": "middle" }, group);
    node.text.textContent = node.id;
    group.addEventListener("pointerenter", () => this.hover(node));
    group.addEventListener("pointerleave", () => this.hover(null));
    group.addEventListener("focus", () => group.matches(":focus-visible") && this.hover(node));
    group.addEventListener("blur", () => this.hover(null));
    group.addEventListener("click", (event) => {
      event.stopPropagation();
      this.pick(node);
    });
    this.nodes.push(node);
    this.byId.set(node.id, node);
  }

  layOut() {
    if (!this.picture || !this.scroll.clientWidth) return;
    const { layers } = this.picture;
    const width = Math.max(this.scroll.clientWidth, NARROWEST_COLUMN * layers.length);
    const rows = Math.max(1, ...layers.map((layer) => layer.nodes.length));
    const column = width / layers.length;
    const named = this.nodes.some((node) => node.name);
    const label = named ? LABEL.names : LABEL.id;
    const more = label - LABEL.id;
    const row = Math.min(ROW.tallest, Math.max(ROW.lowest, ROW.room / rows)) + more;
    const side = Math.min(row - label - 3, column - 16);
    const shorten = shortener(this.root, column - 4);
    const height = HEAD + rows * row;
    if (this.size === `${width}x${height}` && this.drawn === this.canvas) return;
    this.size = `${width}x${height}`;
    this.drawn = this.canvas;
    const set = (element, values) => {
      for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
    };
    set(this.canvas, { width, height, viewBox: `0 0 ${width} ${height}` });
    layers.forEach((layer, place) => set(layer.head, { x: (place + 0.5) * column }));
    for (const node of this.nodes) {
      const free = rows - layers[node.column].nodes.length;
      const x = (node.column + 0.5) * column - side / 2;
      const y = HEAD + (node.row + free / 2) * row;
      Object.assign(node, { x, y, side });
      const square = { x, y, width: side, height: side };
      set(node.clip, { ...square, rx: 5 });
      set(node.image, square);
      node.image.style.clipPath = "inset(0 round 5px)";
      set(node.frame, { ...square, rx: 5 });
      set(node.track, { x, y: y + side + 3, width: side, height: 2.5, rx: 1.25 });
      const share = Math.max(0.04, Math.min(1, node.share));
      set(node.bar, { x, y: y + side + 3, width: side * share, height: 2.5, rx: 1.25 });
      const middle = x + side / 2;
      if (node.title) {
        set(node.title, { x: middle, y: y + side + LABEL.id - 1 });
        node.title.textContent = shorten(node.name);
      }
      set(node.text, { x: middle, y: y + side + (node.title ? LABEL.names - 1.5 : LABEL.id - 1.5) });
    }
    for (const { parent, child, path } of this.edges) {
      const [from, to] = [this.nodes[parent], this.nodes[child]];
      const [x0, y0] = [from.x + side + 1, from.y + side / 2];
      const [x1, y1] = [to.x - 1, to.y + side / 2];
      const bend = (x1 - x0) * 0.5;
      set(path, { d: `M${x0},${y0}C${x0 + bend},${y0} ${x1 - bend},${y1} ${x1},${y1}` });
    }
  }

  // ---- lighting

  /** Light some edges and their ends, and fade the rest; nothing lit shows all alike. */
  light(node, edges, near) {
    this.canvas.classList.toggle("focused", Boolean(node));
    for (const other of this.nodes) other.group.classList.remove("lit", "near");
    for (const edge of this.edges) {
      edge.path.classList.remove("lit", "near");
      edge.path.style.opacity = "";
    }
    if (!node) return;
    node.group.classList.add("lit");
    const mark = (edge, name) => {
      edge.path.classList.add(name);
      this.nodes[edge.parent].group.classList.add(name);
      this.nodes[edge.child].group.classList.add(name);
    };
    near.forEach((edge) => mark(edge, "near"));
    edges.forEach((edge) => mark(edge, "lit"));
  }

  lightSelection() {
    const node = this.byId.get(this.selected);
    if (!node) {
      this.light(null, [], []);
      return;
    }
    const onPaths = this.picture.paths[node.id] || [];
    const onwards = node.edges.filter((edge) => edge.parent === node.place && edge.strong);
    this.light(node, onPaths.map(([place]) => this.edges[place]), onwards);
    // A path fades towards its beginning as it carries less of what raised the concept.
    for (const [place, part] of onPaths) {
      this.edges[place].path.style.opacity = 0.35 + 0.6 * Math.sqrt(Math.min(1, part));
    }
  }

  hover(node) {
    if (node) {
      this.light(node, node.edges.filter((edge) => edge.strong), []);
      this.showTip(node);
    } else {
      this.lightSelection();
      this.hideTip();
    }
  }

  select(id) {
    this.byId.get(this.selected)?.group.setAttribute("aria-pressed", "false");
    this.byId.get(this.selected)?.group.classList.remove("selected");
    this.selected = id;
    const node = this.byId.get(id);
    node?.group.setAttribute("aria-pressed", "true");
    node?.group.classList.add("selected");
    this.enter(node || this.nodes[0]);
    this.lightSelection();
    this.live.textContent = node
      ? `${node.label}. ${(this.picture.paths[id] || []).length} edges of its strongest paths are lit.`
      : "No concept is selected.";
    if (node) this.reveal(node);
  }

  pick(node) {
    const id = node ? node.id : null;
    if (id === this.selected) return;
    this.asked = { id, until: performance.now() + ANSWER_MS };
    this.select(id);
    this.report(id || "");
  }

  /** Scroll sideways, never the page, until a node can be seen. */
  reveal(node) {
    const { scrollLeft, clientWidth } = this.scroll;
    if (node.x < scrollLeft || node.x + node.side > scrollLeft + clientWidth) {
      this.scroll.scrollLeft = node.x - clientWidth / 2;
    }
  }

  showTip(node) {
    this.tip.replaceChildren();
    const title = html("div", "title", "", this.tip);
    html("strong", "", node.name || node.id, title);
    if (node.name) html("span", "", node.id, title);
    for (const line of node.lines) html("div", "", line, this.tip);
    this.tip.classList.add("shown");
    const left = node.x - this.scroll.scrollLeft + this.scroll.offsetLeft;
    const room = this.root.clientWidth - this.tip.offsetWidth;
    const right = left + node.side + 10;
    const place = right <= room ? right : left - this.tip.offsetWidth - 10;
    this.tip.style.left = `${Math.max(0, Math.min(place, room))}px`;
    const top = this.scroll.offsetTop + node.y + node.side / 2 - this.tip.offsetHeight / 2;
    this.tip.style.top = `${Math.max(0, top)}px`;
  }

  hideTip() {
    this.tip.classList.remove("shown");
  }

  // ---- keyboard: one stop of the Tab key, arrows from there

  enter(node) {
    for (const other of this.nodes) other.group.setAttribute("tabindex", "-1");
    node?.group.setAttribute("tabindex", "0");
  }

  key(event) {
    const node = this.byId.get(event.target.dataset?.id);
    if (event.key === "Escape" && this.selected) {
      this.pick(null);
    } else if (node && (event.key === "Enter" || event.key === " ")) {
      this.pick(node);
    } else if (node && event.key.startsWith("Arrow")) {
      const next = this.neighbour(node, event.key);
      if (next) {
        this.enter(next);
        next.group.focus({ preventScroll: true });
        this.hover(next);
        this.reveal(next);
      }
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  neighbour(node, key) {
    if (key === "ArrowUp" || key === "ArrowDown") {
      const row = node.row + (key === "ArrowDown" ? 1 : -1);
      return this.nodes.find((other) => other.column === node.column && other.row === row);
    }
    const step = key === "ArrowRight" ? 1 : -1;
    let column = node.column + step;
    while (this.picture.layers[column] && !this.picture.layers[column].nodes.length) column += step;
    const there = this.nodes.filter((other) => other.column === column);
    const distance = (other) => Math.abs(other.y - node.y);
    return there.sort((a, b) => distance(a) - distance(b))[0];
  }
}
