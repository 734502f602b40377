// Saving a drawn SVG as a figure of its own, with its looks written into it: as SVG, or as PNG at
// twice its size. Everything happens in the browser.

const FIGURE_STYLES = [
  "fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "clip-path",
  "font-family", "font-size", "font-weight", "text-anchor", "paint-order", "filter",
];
const FIGURE_MARGIN = 16;
const FIGURE_LINE = 20;
const PNG_SCALE = 2;

/** Return a copy of an element and all in it that is drawn, each with its computed looks. */
function drawnCopy(source) {
  const looks = getComputedStyle(source);
  if (looks.display === "none" || looks.visibility === "hidden") return null;
  const copy = source.cloneNode(false);
  for (const name of ["class", "style", "tabindex", "role", "aria-pressed", "data-id"]) {
    copy.removeAttribute(name);
  }
  for (const name of FIGURE_STYLES) {
    const value = looks.getPropertyValue(name);
    if (value && value !== "none" && value !== "normal") copy.style.setProperty(name, value);
    else if (name === "fill" || name === "stroke") copy.style.setProperty(name, value || "none");
  }
  for (const child of source.childNodes) {
    const made = child.nodeType === Node.ELEMENT_NODE ? drawnCopy(child) : child.cloneNode(false);
    if (made) copy.appendChild(made);
  }
  return copy;
}

/** Break a text into lines that are at most `room` wide. */
function brokenLines(text, room, font) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = font;
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (pen.measureText(longer).width <= room) lines[lines.length - 1] = longer;
    else if (lines.at(-1)) lines.push(word);
    else lines[0] = word;
  }
  return lines;
}

/** Return an SVG element that stands alone: background, caption above, notes below. */
function figureOf(drawing, { caption, notes }) {
  const space = "http://www.w3.org/2000/svg";
  const looks = getComputedStyle(drawing);
  const page = getComputedStyle(drawing.closest("div"));
  const [width, height] = ["width", "height"].map((side) => Number(drawing.getAttribute(side)));
  const above = brokenLines(caption, width, `13px ${looks.fontFamily}`);
  const below = brokenLines(notes, width, `11px ${looks.fontFamily}`);
  const full = {
    width: width + 2 * FIGURE_MARGIN,
    height: height + 2 * FIGURE_MARGIN + (above.length + below.length) * FIGURE_LINE,
  };
  const figure = document.createElementNS(space, "svg");
  figure.setAttribute("xmlns", space);
  figure.setAttribute("width", full.width);
  figure.setAttribute("height", full.height);
  figure.setAttribute("viewBox", `0 0 ${full.width} ${full.height}`);
  const add = (tag, attributes, text) => {
    const element = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    figure.appendChild(element);
    return element;
  };
  const colour = page.getPropertyValue("--st-background-color") || "#ffffff";
  const font = { "font-family": looks.fontFamily, fill: looks.color };
  add("title", {}, caption);
  add("rect", { width: "100%", height: "100%", fill: colour.trim() });
  above.forEach((line, place) => {
    const y = FIGURE_MARGIN + 11 + place * FIGURE_LINE;
    add("text", { ...font, x: FIGURE_MARGIN, y, "font-size": 13 }, line);
  });
  below.forEach((line, place) => {
    const y = full.height - FIGURE_MARGIN - (below.length - 1 - place) * FIGURE_LINE;
    add("text", { ...font, x: FIGURE_MARGIN, y, "font-size": 11 }, line);
  });
  const top = FIGURE_MARGIN + above.length * FIGURE_LINE;
  const moved = add("g", { transform: `translate(${FIGURE_MARGIN},${top})` });
  for (const child of drawing.children) {
    const copy = drawnCopy(child);
    if (copy) moved.appendChild(copy);
  }
  return figure;
}

function saveBlob(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Save a drawing; `kind` is "svg" or "png". */
async function saveFigure(drawing, kind, { name, caption, notes }) {
  const figure = figureOf(drawing, { caption, notes });
  const text = new XMLSerializer().serializeToString(figure);
  const svgBlob = new Blob([text], { type: "image/svg+xml" });
  if (kind === "svg") {
    saveBlob(svgBlob, `${name}.svg`);
    return;
  }
  const picture = new Image();
  // A data address: of a blob some browsers taint the canvas.
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = PNG_SCALE * Number(figure.getAttribute("width"));
  canvas.height = PNG_SCALE * Number(figure.getAttribute("height"));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => saveBlob(blob, `${name}.png`), "image/png");
}

