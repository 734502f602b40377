// A list of concepts: picture, name and id, a line of words, a signed weight. Choosing one is reported with
// setTriggerValue("picked", id).

const rendered = new WeakMap();

export default function render({ data, parentElement, setTriggerValue }) {
  const list = parentElement.querySelector(".list");
  list.report = (id) => setTriggerValue("picked", id);
  if (rendered.get(list) === data.revision) return;
  rendered.set(list, data.revision);
  list.setAttribute("aria-label", data.label);
  list.replaceChildren(...data.items.map((item) => row(item, list)));
}

function element(tag, className, text, parent) {
  const made = document.createElement(tag);
  made.className = className;
  if (text) made.textContent = text;
  parent.appendChild(made);
  return made;
}

function row(item, list) {
  const entry = document.createElement("li");
  const button = element("button", item.active ? "active" : "silent", "", entry);
  button.type = "button";
  button.dataset.id = item.id;
  button.onclick = () => list.report(item.id);
  if (item.image) {
    const image = element("img", "", "", button);
    image.src = item.image;
    image.alt = "";
  } else {
    element("span", "blank", "", button);
  }
  const words = element("span", "words", "", button);
  const title = element("span", "title", "", words);
  title.title = item.name ? `${item.name} (${item.id})` : item.id;
  element("b", "", item.name || item.id, title);
  if (item.name) element("small", "id", item.id, title);
  element("small", "", item.note, words);
  if (item.measured) element("small", "measured", item.measured, words);
  if (item.share !== null) {
    const bar = element("span", "bar", "", words);
    element("i", item.weight < 0 ? "lowers" : "raises", "", bar).style.width =
      `${100 * Math.min(1, Math.abs(item.share))}%`;
  }
  element("span", `weight ${item.weight < 0 ? "lowers" : "raises"}`, item.text, button);
  return entry;
}
