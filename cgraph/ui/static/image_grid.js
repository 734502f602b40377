// Pictures to choose from, in a row or a grid. Choosing one is reported with
// setTriggerValue("picked", id). One stop of the Tab key; the arrow keys move within.

const rendered = new WeakMap();

export default function render({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".grid");
  grid.report = (id) => setTriggerValue("picked", id);
  if (rendered.get(grid) !== data.revision) {
    rendered.set(grid, data.revision);
    draw(grid, data);
  }
  mark(grid, data.selected, data.ticked);
}

function draw(grid, data) {
  grid.className = data.columns ? "grid" : "grid strip";
  grid.style.setProperty("--columns", data.columns || data.items.length);
  grid.setAttribute("aria-label", data.label);
  const buttons = data.items.map((item) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.id = item.id;
    button.title = item.label;
    button.setAttribute("aria-label", item.label);
    const image = document.createElement("img");
    image.src = item.image;
    image.alt = "";
    button.appendChild(image);
    button.onclick = () => {
      // What is switched on shows at once; Python may know better, and then says so.
      if (data.ticked) button.setAttribute("aria-pressed", button.ariaPressed !== "true");
      else mark(grid, item.id, null);
      grid.report(item.id);
    };
    return button;
  });
  grid.replaceChildren(...buttons);
  grid.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
      ?? { ArrowUp: -data.columns, ArrowDown: data.columns }[event.key];
    const next = buttons[buttons.indexOf(event.target) + step];
    if (!next) return;
    enter(buttons, next);
    next.focus();
    event.preventDefault();
  };
}

function mark(grid, selected, ticked) {
  const buttons = [...grid.children];
  for (const button of buttons) {
    if (ticked) button.setAttribute("aria-pressed", ticked.includes(button.dataset.id));
    if (button.dataset.id === selected) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  enter(buttons, buttons.find((button) => button.dataset.id === selected) || buttons[0]);
}

function enter(buttons, entry) {
  for (const button of buttons) button.tabIndex = button === entry ? 0 : -1;
}
