// A quiet node beneath each layer for what lies outside the graph. It is no concept: choosing it
// chooses its layer, whose panel says more.

const FOOT = { room: 46, height: 17, gap: 9 }; // pixels below the lowest concept

class OutsideNodes {
  constructor(drawing, canvas) {
    this.drawing = drawing;
    this.layer = svg("g", { class: "feet" }, canvas);
    this.feet = [];
    drawing.picture.layers.forEach((layer, column) => {
      if (layer.outside) this.add(layer, column);
    });
  }

  get room() {
    return this.feet.length && !this.hidden ? FOOT.room : 0;
  }

  add(layer, column) {
    const { share, text, label, lines } = layer.outside;
    const id = `outside-${layer.depth}`;
    const foot = { id, name: `Outside the graph, ${layer.name}`, label, lines, column, foot: layer.id };
    const group = this.drawing.addButton(foot, "foot", this.layer);
    group.removeAttribute("aria-pressed");
    foot.frame = svg("rect", { class: "frame", rx: 8.5, height: FOOT.height }, group);
    foot.bar = svg("rect", { class: "part", rx: 8.5, height: FOOT.height }, group);
    foot.text = svg("text", { class: "share", "text-anchor": "middle" }, group);
    foot.text.textContent = text;
    foot.share = share;
    this.feet.push(foot);
  }

  show(on) {
    this.hidden = !on;
    this.layer.style.display = on ? "" : "none";
  }

  at(column) {
    return this.hidden ? undefined : this.feet.find((foot) => foot.column === column);
  }

  layOut(column, side, bottom) {
    const y = bottom + FOOT.gap;
    for (const foot of this.feet) {
      const x = (foot.column + 0.5) * column - side / 2;
      Object.assign(foot, { x, y, side });
      for (const [name, value] of Object.entries({ x, y, width: side })) {
        foot.frame.setAttribute(name, value);
      }
      for (const [name, value] of Object.entries({ x, y, width: Math.max(FOOT.height, side * foot.share) })) {
        foot.bar.setAttribute(name, value);
      }
      foot.text.setAttribute("x", x + side / 2);
      foot.text.setAttribute("y", y + 12.5);
    }
  }
}
