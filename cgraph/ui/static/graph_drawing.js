// Drawing a layered graph as plain SVG: columns of pictures, edges between them, and where all of
// it stands in a window of any width. `trace_graph.js` adds what people do with it.

const SVG = "http://www.w3.org/2000/svg";
const NARROWEST_COLUMN = 64; // pixels; a narrower frame scrolls
const ROW = { tallest: 70, lowest: 40, room: 600 }; // without names, which need more
const LABEL = { id: 17, names: 28 }; // pixels below a thumbnail: bar and id; bar, name and id
const NAME_PX = 11; // as in the style sheet
const HEAD = 40;
const WIDEST_EDGE = 6;

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

/** Give a word of the legend its meaning, shown while it is pointed at or focused. */
function explain(place, words) {
  const label = place.firstChild.textContent;
  place.replaceChildren(label);
  place.className = "cg-term";
  place.tabIndex = 0;
  const meaning = html("span", "cg-meaning", words[place.dataset.term], place);
  meaning.setAttribute("role", "tooltip");
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

class GraphDrawing {
  constructor(root) {
    this.root = root;
    this.scroll = root.querySelector(".scroll");
    this.ghosts = [];
    this.ghostEdges = [];
    this.observer = new ResizeObserver(() => this.layOut());
    this.observer.observe(this.scroll);
  }

  draw(picture) {
    this.picture = picture;
    this.nodes = [];
    this.ghosts = [];
    this.ghostEdges = [];
    this.byId = new Map();
    this.active = new Set(picture.layers.flatMap((layer) => layer.nodes.map((node) => node.id)));
    for (const place of this.root.querySelectorAll("[data-term]")) {
      // Words about measurements stay plain, and hidden, where none were taken.
      if (picture.words[place.dataset.term]) explain(place, picture.words);
    }
    const all = picture.layers.flatMap((layer) => layer.nodes);
    this.root.classList.toggle("barless", all.every((node) => node.share === undefined));
    this.root.classList.toggle("markless", all.every((node) => !node.mark));
    this.hasEvidence = Boolean(picture.words.evidence);
    this.root.classList.toggle("unmeasured", !this.hasEvidence);
    const canvas = svg("svg", { role: "group", "aria-label": picture.label });
    this.columns = svg("g", { class: "columns" }, canvas);
    const edgeLayer = svg("g", { class: "edges", "aria-hidden": "true" }, canvas);
    this.edgeLayer = edgeLayer;
    this.nodeLayer = svg("g", { class: "nodes" }, canvas);
    // Above the names, which may be wider than their picture and would hide a mark.
    this.markLayer = svg("g", { class: "edge-marks", "aria-hidden": "true" }, canvas);
    this.edgeOf = new WeakMap();
    this.listenToEdges();
    this.heads = picture.layers.map((layer, column) => {
      layer.depth = column + 1;
      return this.addHead(layer, column);
    });
    picture.layers.forEach((layer, column) => {
      layer.nodes.forEach((node, row) => this.nodes.push(this.addNode({ ...node, column, row })));
    });
    this.edges = picture.edges.map(([parent, child, weight, strong, measured]) =>
      this.addEdge(
        this.nodes[parent], this.nodes[child], weight, strong, strong ? "" : " weak", measured));
    this.outside = new OutsideNodes(this, canvas);
    this.root.classList.toggle("seen-whole", !this.outside.feet.length);
    this.scroll.replaceChildren(canvas);
    this.canvas = canvas;
    this.hideTip();
    this.layOut();
  }

  addEdge(from, to, weight, strong, kind, measured) {
    const name = `edge ${weight < 0 ? "lowers" : "raises"}${kind}`;
    const path = svg("path", { class: name }, this.edgeLayer);
    path.style.strokeWidth = `${
      0.7 + WIDEST_EDGE * Math.min(1, Math.abs(weight) / this.picture.widest)}px`;
    const mark = evidenceMark(measured, kind, this.markLayer);
    const edge = { from, to, path, strong, weight, measured, mark };
    this.edgeOf.set(path, edge);
    if (mark) this.edgeOf.set(mark, edge);
    from.edges.push(edge);
    to.edges.push(edge);
    return edge;
  }

  /** Show what was measured of an edge while it, or its mark, is pointed at. */
  listenToEdges() {
    if (!this.hasEvidence) return;
    const edgeAt = (target) => this.edgeOf.get(target.closest(".evidence") || target);
    for (const layer of [this.edgeLayer, this.markLayer]) {
      layer.addEventListener("pointerover", (event) => {
        const edge = edgeAt(event.target);
        if (edge && !edge.path.classList.contains("ghostly")) this.showEdge(edge);
      });
      layer.addEventListener("pointerout", () => this.hideTip());
    }
    // A tap on a mark is for reading it.
    this.markLayer.addEventListener("click", (event) => event.stopPropagation());
  }

  showEdge(edge) {
    const called = ({ name, id }) => (name ? `${name} (${id})` : id);
    const [x, y] = markPlace(...edge.ends);
    this.showTip({
      name: `${called(edge.from)} → ${called(edge.to)}`, id: "", lines: edgeLines(edge),
      x: x - 6, y: y - 6, side: 12,
    });
  }

  /** Make a group that can be pointed at, focused and chosen. */
  addButton(node, kind, parent) {
    const group = svg("g", { class: kind, role: "button", tabindex: "-1" }, parent);
    group.setAttribute("aria-label", node.label);
    group.setAttribute("aria-pressed", "false");
    group.dataset.id = node.id;
    Object.assign(node, { group, edges: [] });
    group.addEventListener("pointerenter", () => this.hover(node));
    group.addEventListener("pointerleave", () => this.hover(null));
    group.addEventListener("focus", () => group.matches(":focus-visible") && this.hover(node));
    group.addEventListener("blur", () => this.hover(null));
    group.addEventListener("click", (event) => {
      event.stopPropagation();
      this.pick(node);
    });
    this.byId.set(node.id, node);
    return group;
  }

  addHead(layer, column) {
    const { id, name, label } = layer;
    const head = { id, name, label, column, row: -1, head: true, lines: [label.split(": ")[1]] };
    const group = this.addButton(head, "head", this.columns);
    head.frame = svg("rect", { class: "frame", rx: 5, y: 1, height: HEAD - 8 }, group);
    head.text = svg("text", { class: "layer", "text-anchor": "middle", y: 14 }, group);
    head.text.textContent = name;
    head.marks = svg("text", { class: "marks", "text-anchor": "middle", y: 28 }, group);
    const marks = [...(layer.marks || [])];
    if (layer.surprises) marks.push(`!${layer.surprises}`);
    if (layer.absences) marks.push(`?${layer.absences}`);
    if (layer.hidden) marks.push(`+${layer.hidden}`);
    head.marks.textContent = marks.join("  ");
    return head;
  }

  addNode(node) {
    const group = this.addButton(node, node.ghost ? "node ghost" : "node", this.nodeLayer);
    node.clip = svg("rect", { class: "back" }, group);
    node.image = svg("image", { href: node.image, preserveAspectRatio: "xMidYMid slice" }, group);
    node.frame = svg("rect", { class: "frame" }, group);
    if (!node.ghost && node.share !== undefined) {
      node.track = svg("rect", { class: "track" }, group);
      node.bar = svg("rect", { class: "bar" }, group);
    }
    if (node.surprise || node.absent || node.mark) {
      node.badge = svg("g", { class: "badge" }, group);
      svg("circle", { r: 7 }, node.badge);
      svg("text", { "text-anchor": "middle", y: 3.6 }, node.badge).textContent =
        node.mark || (node.surprise ? "!" : "?");
    }
    node.title = node.name ? svg("text", { class: "name", "text-anchor": "middle" }, group) : null;
    const kind = node.name ? "id under" : "id";
    node.text = svg("text", { class: kind, "text-anchor": "middle" }, group);
    node.text.textContent = node.id;
    return node;
  }

  everybody() {
    return [...this.nodes, ...this.ghosts];
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
    const start = (node) => node.row + (rows - layers[node.column].nodes.length) / 2;
    const needed = Math.max(rows, ...this.ghosts.map((ghost) => start(ghost) + 1));
    const height = HEAD + needed * row + this.outside.room;
    const ghosts = this.ghosts.map((ghost) => ghost.id).join();
    const size = `${width}x${height} ${ghosts}`;
    if (this.size === size && this.drawn === this.canvas) return;
    this.size = size;
    this.drawn = this.canvas;
    const set = (element, values) => {
      for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
    };
    set(this.canvas, { width, height, viewBox: `0 0 ${width} ${height}` });
    for (const head of this.heads) {
      const middle = (head.column + 0.5) * column;
      set(head.text, { x: middle });
      set(head.marks, { x: middle });
      set(head.frame, { x: middle - column / 2 + 3, width: column - 6 });
      Object.assign(head, { x: middle - side / 2, y: 0, side });
    }
    for (const node of this.everybody()) {
      const x = (node.column + 0.5) * column - side / 2;
      const y = HEAD + start(node) * row;
      Object.assign(node, { x, y, side });
      const square = { x, y, width: side, height: side };
      set(node.clip, { ...square, rx: 5 });
      set(node.image, square);
      node.image.style.clipPath = "inset(0 round 5px)";
      set(node.frame, { ...square, rx: 5 });
      if (node.bar) {
        set(node.track, { x, y: y + side + 3, width: side, height: 2.5, rx: 1.25 });
        const share = Math.max(0.04, Math.min(1, node.share));
        set(node.bar, { x, y: y + side + 3, width: side * share, height: 2.5, rx: 1.25 });
      }
      if (node.badge) set(node.badge, { transform: `translate(${x + side - 2},${y + 3})` });
      const middle = x + side / 2;
      if (node.title) {
        set(node.title, { x: middle, y: y + side + LABEL.id - 1 });
        node.title.textContent = shorten(node.name);
      }
      set(node.text, { x: middle, y: y + side + (node.title ? LABEL.names - 1.5 : LABEL.id - 1.5) });
    }
    this.outside.layOut(column, side, HEAD + needed * row);
    for (const edge of [...this.edges, ...this.ghostEdges]) {
      const { from, to, path, mark } = edge;
      const [x0, y0] = [from.x + side + 1, from.y + side / 2];
      const [x1, y1] = [to.x - 1, to.y + side / 2];
      const bend = (x1 - x0) * 0.5;
      edge.ends = [[x0, y0], [x1, y1]];
      if (mark) set(mark, { transform: `translate(${markPlace(...edge.ends)})` });
      set(path, { d: `M${x0},${y0}C${x0 + bend},${y0} ${x1 - bend},${y1} ${x1},${y1}` });
    }
  }
}

