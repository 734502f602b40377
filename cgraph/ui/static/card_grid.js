// Concepts as cards. Choosing one is reported with setTriggerValue("picked", id). One stop of the
// Tab key; the arrow keys, Home and End move within.

const rendered = new WeakMap();

export default function render({ data, parentElement, setTriggerValue }) {
  const list = parentElement.querySelector(".cards");
  list.report = (id) => setTriggerValue("picked", id);
  if (rendered.get(list) === data.revision) return;
  rendered.set(list, data.revision);
  list.setAttribute("aria-label", data.label);
  list.replaceChildren(...data.items.map((item) => card(item, list)));
  const first = list.querySelector("button");
  if (first) first.tabIndex = 0;
  list.onkeydown = (event) => move(list, event);
}

function add(parent, tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  parent.appendChild(made);
  return made;
}

function card(item, list) {
  const entry = document.createElement("li");
  const button = add(entry, "button");
  button.type = "button";
  button.tabIndex = -1;
  button.dataset.id = item.id;
  button.title = item.name ? `${item.name} (${item.id})` : item.id;
  button.setAttribute("aria-label", item.label);
  button.onclick = () => list.report(item.id);
  const title = add(button, "span", "title");
  add(title, "b", "", item.name || item.id);
  if (item.name) add(title, "small", "", item.id);
  pictures(button, item);
  const figures = add(button, "span", "figures");
  for (const [what, value] of item.figures) {
    const figure = add(figures, "span", "");
    add(figure, "small", "", what);
    add(figure, "b", "", value);
  }
  for (const [kind, relatives] of item.relations) {
    const line = add(button, "span", "relations");
    add(line, "small", "", kind);
    for (const [name, weight] of relatives) {
      const sign = weight.startsWith("+") ? "raises" : "lowers";
      const relative = add(line, "span", `relative ${sign}`);
      // A short name, or an id, says nothing once it is cut; a long one gives way.
      relative.style.flexShrink = name.length > 9 ? 1 : 0;
      add(relative, "span", "who", name);
      add(relative, "b", "", weight);
    }
  }
  return entry;
}

function pictures(button, item) {
  const strip = add(button, "span", "strip");
  if (!item.strip) {
    strip.classList.add("empty");
    strip.textContent = "active in no training image";
    return;
  }
  const total = item.bands.reduce((sum, [, n]) => sum + n, 0);
  strip.style.setProperty("--strip", `url("${item.strip}")`);
  let place = 0;
  for (const [name, n] of item.bands) {
    const band = add(strip, "span", "band");
    const tiles = add(band, "span", "tiles");
    for (let i = 0; i < n; i += 1, place += 1) {
      const tile = add(tiles, "i");
      tile.style.backgroundSize = `${100 * total}% 100%`;
      tile.style.backgroundPosition = `${total > 1 ? (100 * place) / (total - 1) : 0}% 0`;
    }
    add(band, "small", "", name);
  }
}

function move(list, event) {
  const buttons = [...list.querySelectorAll("button")];
  const here = buttons.indexOf(event.target);
  if (here < 0) return;
  const top = (button) => button.getBoundingClientRect().top;
  const columns = buttons.findIndex((button) => top(button) > top(buttons[0]) + 1);
  const across = columns > 0 ? columns : buttons.length;
  const next = {
    ArrowLeft: here - 1,
    ArrowRight: here + 1,
    ArrowUp: here - across,
    ArrowDown: here + across,
    Home: 0,
    End: buttons.length - 1,
  }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  if (!buttons[next]) return;
  for (const [place, button] of buttons.entries()) button.tabIndex = place === next ? 0 : -1;
  buttons[next].focus();
}
