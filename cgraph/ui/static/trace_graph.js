// The layered graph of one image: a column per layer, concepts as pictures, edges between them.
//
// Python sends a picture once per image, and what is selected by way of `trace_selection.js`.
// Hovering, moving with the keys and lighting paths happen here; choosing a concept or a layer is
// reported with setTriggerValue("picked", id), "" for none. Ghosts are concepts that are silent in
// the image: those of the selection, and with the box ticked those that were expected.

const MOST_GHOSTS = 4; // of one column
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

class TraceGraph extends GraphDrawing {
  constructor(root) {
    super(root);
    this.tip = root.querySelector(".tip");
    this.live = root.querySelector(".live");
    this.revision = null;
    this.selected = null;
    this.told = { selected: "", ghosts: [], edges: [] };
    this.asked = null; // what was reported and is not yet confirmed
    this.silentToo = false;
    this.listen = () => this.hear();
    document.addEventListener("cgraph:selection", this.listen);
    const box = root.querySelector(".silent-too");
    if (box) {
      box.onchange = () => {
        this.silentToo = box.checked;
        this.haunt();
        this.lightSelection();
      };
    }
    const feet = root.querySelector(".outside-too");
    if (feet) {
      feet.onchange = () => {
        this.outside.show(feet.checked);
        this.layOut();
      };
    }
    for (const button of root.querySelectorAll("[data-save]")) {
      button.onclick = () => this.save(button.dataset.save);
    }
    root.addEventListener("keydown", (event) => this.key(event));
    this.scroll.addEventListener("click", () => this.pick(null));
    this.scroll.addEventListener("scroll", () => this.hideTip());
  }

  stop() {
    this.observer.disconnect();
    document.removeEventListener("cgraph:selection", this.listen);
  }

  update(data) {
    if (data.revision === this.revision) return;
    this.revision = data.revision;
    this.asked = null;
    this.selected = null;
    this.told = { selected: "", ghosts: [], edges: [] };
    this.draw(JSON.parse(data.picture));
    const feet = this.root.querySelector(".outside-too");
    if (feet && !feet.checked) {
      this.outside.show(false);
      this.layOut();
    }
    this.select(null);
    this.hear();
  }

  /** Take up what Python says is selected, unless somebody chose something else meanwhile. */
  hear() {
    const told = document.cgraphSelection;
    if (!told || told.revision !== this.revision) return;
    const id = told.selected || null;
    if (this.asked && (this.asked.id === id || performance.now() > this.asked.until)) {
      this.asked = null;
    }
    if (this.asked) return;
    this.told = told;
    this.haunt();
    if (id !== this.selected || this.byId.get(id)?.ghost) this.select(id);
    else this.lightSelection();
  }

  // ---- silent concepts

  /** Draw the ghosts that are wanted now: those of the selection first, few in a column. */
  haunt() {
    const wanted = new Map();
    const filled = new Map();
    const want = (ghost) => {
      const column = this.picture.layers.findIndex((layer) => ghost.id.startsWith(`L${layer.depth}/`));
      const place = filled.get(column) || 0;
      if (wanted.has(ghost.id) || this.active.has(ghost.id) || place >= MOST_GHOSTS) return;
      filled.set(column, place + 1);
      const row = this.picture.layers[column].nodes.length + place;
      wanted.set(ghost.id, { ...ghost, column, row, ghost: true });
    };
    for (const ghost of this.told.ghosts) {
      if (this.silentToo || ghost.id === this.told.selected) want(ghost);
    }
    if (this.silentToo) this.picture.layers.forEach((layer) => layer.absent.forEach(want));
    const focused = this.ghosts.find((ghost) => ghost.group === this.root.getRootNode().activeElement);
    for (const { group, id } of this.ghosts) {
      group.remove();
      this.byId.delete(id);
    }
    for (const { path, from, to } of this.ghostEdges) {
      path.remove();
      for (const end of [from, to]) end.edges = end.edges.filter((edge) => edge.path !== path);
    }
    this.ghosts = [...wanted.values()].map((ghost) => this.addNode(ghost));
    this.ghostEdges = this.told.edges
      .map(([parent, child, weight]) => [this.byId.get(parent), this.byId.get(child), weight])
      .filter(([from, to]) => from && to)
      .map(([from, to, weight]) => this.addEdge(from, to, weight, true, " ghostly"));
    this.press(this.byId.get(this.selected), true);
    this.layOut();
    if (focused) this.byId.get(focused.id)?.group.focus({ preventScroll: true });
  }

  // ---- lighting

  /** Light some edges and their ends, and fade the rest; nothing lit shows all alike. */
  light(node, edges, near) {
    this.canvas.classList.toggle("focused", Boolean(node));
    for (const other of this.everybody()) other.group.classList.remove("lit", "near");
    for (const edge of [...this.edges, ...this.ghostEdges]) {
      edge.path.classList.remove("lit", "near");
      edge.mark?.classList.remove("lit", "near");
      edge.path.style.opacity = "";
    }
    if (!node) return;
    node.group.classList.add("lit");
    const mark = (edge, name) => {
      edge.path.classList.add(name);
      edge.mark?.classList.add(name);
      edge.from.group.classList.add(name);
      edge.to.group.classList.add(name);
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
    if (node.head || !this.picture.paths[node.id] || (node.ghost && !onPaths.length)) {
      this.lightAround(node);
      return;
    }
    const onwards = node.edges.filter((edge) => edge.from === node && edge.strong);
    onwards.push(...this.ghostEdges.filter((edge) => edge.to === node));
    this.light(node, onPaths.map(([place]) => this.edges[place]), onwards);
    // A path fades towards its beginning as it carries less of what raised the concept.
    for (const [place, part] of onPaths) {
      this.edges[place].path.style.opacity = 0.35 + 0.6 * Math.sqrt(Math.min(1, part));
    }
  }

  /** Light a concept and its strong edges, or a layer with all that leads into it. */
  lightAround(node) {
    const members = node.head
      ? this.everybody().filter((other) => other.column === node.column)
      : [node];
    const edges = members.flatMap((member) =>
      member.edges.filter((edge) => edge.strong && (!node.head || edge.to === member)));
    this.light(node, edges, []);
    for (const member of members) member.group.classList.add("lit");
  }

  hover(node) {
    if (node?.foot) {
      this.showTip(node);
    } else if (node) {
      this.lightAround(node);
      this.showTip(node);
    } else {
      this.lightSelection();
      this.hideTip();
    }
  }

  press(node, on) {
    node?.group.setAttribute("aria-pressed", on);
    node?.group.classList.toggle("selected", on);
  }

  select(id) {
    this.press(this.byId.get(this.selected), false);
    this.selected = id;
    const node = this.byId.get(id);
    this.press(node, true);
    this.enter(node || this.nodes[0]);
    this.lightSelection();
    const n_lit = (this.picture.paths[id] || []).length;
    this.live.textContent = node
      ? `${node.label}.${n_lit ? ` ${n_lit} edges of its strongest paths are lit.` : ""}`
      : "Nothing is selected.";
    if (node) this.reveal(node);
  }

  pick(node) {
    const id = node ? node.foot || node.id : null;
    if (id === this.selected && !this.picture.repeats) return;
    this.asked = { id, until: performance.now() + ANSWER_MS };
    this.select(id);
    if (node?.foot) this.enter(node);
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
    if (node.name && !node.foot) html("span", "", node.id, title);
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
    for (const other of [...this.everybody(), ...this.heads, ...this.outside.feet]) {
      other.group.setAttribute("tabindex", "-1");
    }
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
    const all = [...this.heads, ...this.everybody()];
    if (key === "ArrowUp" || key === "ArrowDown") {
      const down = key === "ArrowDown";
      const column = all.filter((other) => other.column === node.column);
      if (node.foot) return down ? undefined : column.sort((a, b) => b.row - a.row)[0];
      const row = node.row + (down ? 1 : -1);
      const next = column.find((other) => other.row === row);
      return next || (down ? this.outside.at(node.column) : undefined);
    }
    const step = key === "ArrowRight" ? 1 : -1;
    if (node.foot) return this.outside.at(node.column + step);
    if (node.head) return this.heads[node.column + step];
    let column = node.column + step;
    while (this.picture.layers[column] && !this.picture.layers[column].nodes.length) column += step;
    const there = this.everybody().filter((other) => other.column === column);
    const distance = (other) => Math.abs(other.y - node.y);
    return there.sort((a, b) => distance(a) - distance(b))[0];
  }

  save(kind) {
    this.hideTip();
    saveFigure(this.canvas, kind, {
      name: this.picture.file,
      caption: this.picture.caption,
      notes: this.picture.notes || "orange, solid: raises · blue, dashed: lowers · width: weight · "
        + "bar: coefficient · !: surprise · ?: expected but absent · cgraph",
    });
  }
}
