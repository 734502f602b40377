// A table with concepts as small pictures in its cells. Choosing one is reported with
// setTriggerValue("picked", id). One stop of the Tab key; the arrow keys move within.

const rendered = new WeakMap();

export default function render({ data, parentElement, setTriggerValue }) {
  const table = parentElement.querySelector("table");
  table.report = (id) => setTriggerValue("picked", id);
  if (rendered.get(table) !== data.revision) {
    rendered.set(table, data.revision);
    draw(table, data);
  }
  for (const button of table.querySelectorAll("button")) {
    if (button.dataset.id === data.selected) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

function add(parent, tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  parent.appendChild(made);
  return made;
}

function draw(table, data) {
  table.replaceChildren();
  table.className = data.joined ? "joined" : "apart";
  table.classList.toggle("wide", data.wide);
  table.classList.toggle("roomy", data.roomy);
  table.classList.toggle("noted", data.rows.some((row) => row.note.includes("\n")));
  add(table, "caption", "unseen", data.label);
  const top = add(add(table, "thead"), "tr");
  add(top, "td");
  for (const head of data.heads) {
    const cell = add(top, "th", head.image ? "pictured" : "");
    cell.scope = "col";
    cell.title = head.text;
    if (head.image) {
      const image = add(cell, "img");
      image.src = head.image;
      image.alt = "";
    }
    add(cell, "span", "", head.text);
  }
  const concepts = new Map(data.concepts.map(([id, name, image]) => [id, { name, image }]));
  const body = add(table, "tbody");
  for (const row of data.rows) drawRow(add(body, "tr"), row, concepts, table);
  const first = table.querySelector("button");
  if (first) first.tabIndex = 0;
  table.onkeydown = (event) => move(table, event);
}

function drawRow(line, row, concepts, table) {
  const lead = add(line, "th", "lead");
  lead.scope = "row";
  add(lead, "b", "", row.lead);
  if (row.note) add(lead, "small", "", row.note);
  if (row.share !== null) {
    add(add(lead, "span", "bar"), "i").style.width = `${100 * Math.min(1, row.share)}%`;
  }
  for (const [column, shown] of row.cells.entries()) {
    const cell = add(line, "td", shown.length ? "filled" : "empty");
    cell.classList.toggle("lowers", row.lowering.includes(column));
    const group = add(cell, "div", "group");
    for (const [id, note, spoken] of shown) {
      group.appendChild(concept(id, note, spoken ?? note, concepts.get(id), table));
    }
  }
}

function concept(id, note, spoken, { name, image }, table) {
  const button = document.createElement("button");
  button.type = "button";
  button.tabIndex = -1;
  button.dataset.id = id;
  button.title = name ? `${name} (${id})` : id;
  button.setAttribute("aria-label", spoken ? `${button.title}: ${spoken}` : button.title);
  button.onclick = () => table.report(id);
  if (image) {
    const picture = add(button, "img");
    picture.src = image;
    picture.alt = "";
  } else {
    add(button, "span", "blank");
  }
  add(button, "span", "name", name || id);
  if (note) add(button, "span", "note", note);
  return button;
}

/** Move to the next concept in its row, or to the nearest one in the row above or below. */
function move(table, event) {
  const buttons = [...table.querySelectorAll("button")];
  const here = buttons.indexOf(event.target);
  if (here < 0) return;
  let next = null;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    next = buttons[here + (event.key === "ArrowRight" ? 1 : -1)];
  } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    const rows = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("button")]);
    const filled = rows.filter((row) => row.length);
    const place = filled.findIndex((row) => row.includes(event.target));
    const there = filled[place + (event.key === "ArrowDown" ? 1 : -1)] || [];
    const left = (button) => button.getBoundingClientRect().left;
    const distance = (button) => Math.abs(left(button) - left(event.target));
    next = [...there].sort((a, b) => distance(a) - distance(b))[0];
  }
  if (!next) return;
  for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
  next.focus();
  event.preventDefault();
}
