// One concept at any threshold: the confusion it makes, what that means in both worlds, and the
// images it gets wrong. Python sends the counts at every threshold once; moving the slider asks
// nobody. Where it is let go is reported with setTriggerValue("threshold", p), and a chosen image
// with setTriggerValue("picked", id). Dots of other figures follow ("cgraph:dots", see figure.js).

const STEPS = 1000; // of the slider, even in log-odds, since most probabilities are small
const FARTHEST = 12; // log-odds
const logOdds = (p) => Math.max(-FARTHEST, Math.min(FARTHEST, Math.log(p / (1 - p))));
const number = (n) => n.toLocaleString("en");
const two = (value) => (value === null ? "–" : value.toFixed(2));
const percent = (p) => `${p >= 0.0995 ? (100 * p).toFixed(0) : (100 * p).toPrecision(2)}\u00a0%`;
const ratio = (part, whole) => (whole > 0 ? part / whole : null);

const shown = new WeakMap();

export default function render({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".threshold");
  let view = shown.get(root);
  if (!view) {
    view = new Threshold(root);
    shown.set(root, view);
  }
  view.send = setTriggerValue;
  view.update(data);
}

function add(parent, tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

class Threshold {
  constructor(root) {
    this.root = root;
    this.slider = root.querySelector("input");
    this.slider.oninput = () => this.set(this.ofSlider());
    this.slider.onchange = () => this.send("threshold", this.p);
  }

  update(data) {
    if (data.revision !== this.revision) {
      this.revision = data.revision;
      this.facts = JSON.parse(data.facts);
      const { levels } = this.facts;
      this.ends = [logOdds(levels[levels.length - 1]) - 0.3, logOdds(levels[0]) + 0.3];
      this.told = undefined;
      this.drawPresets();
      for (const kind of ["fp", "fn"]) this.drawStrip(kind);
    }
    if (data.threshold !== this.told) {
      this.told = data.threshold;
      this.set(data.threshold ?? this.facts.tau);
    }
    for (const button of this.root.querySelectorAll(".strip button")) {
      if (button.dataset.id === data.selected) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  ofSlider() {
    const [low, high] = this.ends;
    return 1 / (1 + Math.exp(-(low + ((high - low) * Number(this.slider.value)) / STEPS)));
  }

  /** Return how many samples score at least p: the last point that does. */
  point(p) {
    const { levels } = this.facts;
    let [low, high] = [0, levels.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (levels[middle] >= p) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  set(p) {
    const { tp, fp, nPos, nNeg } = this.facts;
    const [low, high] = this.ends;
    this.p = p;
    this.slider.value = Math.round((STEPS * (logOdds(p) - low)) / (high - low));
    const place = this.point(p);
    const counts = { tp: place < 0 ? 0 : tp[place], fp: place < 0 ? 0 : fp[place] };
    Object.assign(counts, { fn: nPos - counts.tp, tn: nNeg - counts.fp });
    this.root.querySelector("output").textContent = percent(p);
    this.slider.setAttribute("aria-valuetext",
      `${percent(p)}: ${number(counts.tp)} found, ${number(counts.fn)} missed, `
      + `${number(counts.fp)} false positives`);
    for (const button of this.root.querySelectorAll(".presets button")) {
      button.setAttribute("aria-pressed", String(Math.abs(Number(button.dataset.p) - p) < 1e-9));
    }
    this.drawCounts(counts);
    this.filter("fp", (image) => image.p >= p, counts.fp);
    this.filter("fn", (image) => image.p < p, counts.fn);
    const recall = ratio(counts.tp, nPos);
    const called = counts.tp + counts.fp;
    document.cgraphDots = {
      roc: [ratio(counts.fp, nNeg), recall],
      precision: [recall, called ? counts.tp / called : 1],
    };
    document.dispatchEvent(new CustomEvent("cgraph:dots"));
  }

  drawPresets() {
    const box = this.root.querySelector(".presets");
    box.replaceChildren();
    for (const [label, p, title] of this.facts.presets) {
      const button = add(box, "button", "", `${label} ${percent(p)}`);
      button.type = "button";
      button.dataset.p = p;
      button.title = title;
      button.onclick = () => {
        this.set(p);
        this.send("threshold", p);
      };
    }
  }

  drawCounts({ tp, fp, fn, tn }) {
    const { nPos, nNeg } = this.facts;
    const share = (part, whole) => (whole ? percent(part / whole) : "–");
    const confusion = this.root.querySelector(".confusion");
    this.rows(confusion, "Held-out images", ["", "predicted", "not predicted"], [
      [`has it (${number(nPos)})`, [tp, `found, ${share(tp, nPos)}`], [fn, "missed"]],
      [`lacks it (${number(nNeg)})`, [fp, `false, ${share(fp, nNeg)}`], [tn, "rightly left"]],
    ]);
    const [tpr, fpr] = [ratio(tp, nPos), ratio(fp, nNeg)];
    const balanced = tpr === null || fpr === null ? [null, null, null]
      : [ratio(tpr, tpr + fpr), tpr, (2 * tpr) / (1 + tpr + fpr)];
    this.rows(this.root.querySelector(".worlds"), "What that means", ["", "precision", "recall", "F1"], [
      ["natural world", ...[ratio(tp, tp + fp), tpr, ratio(2 * tp, 2 * tp + fp + fn)].map(two)],
      ["balanced world", ...balanced.map(two)],
    ]);
  }

  rows(table, caption, heads, rows) {
    table.replaceChildren();
    add(table, "caption", "", caption);
    const head = add(add(table, "thead"), "tr");
    for (const text of heads) add(head, text ? "th" : "td", "", text).scope = "col";
    const body = add(table, "tbody");
    for (const [lead, ...cells] of rows) {
      const line = add(body, "tr");
      const start = add(line, "th");
      start.scope = "row";
      const world = / world$/.test(lead) ? `world ${lead.split(" ")[0]}` : "";
      add(start, "span", world, lead);
      for (const cell of cells) {
        const box = add(line, "td");
        if (Array.isArray(cell)) {
          add(box, "b", "", number(cell[0]));
          add(box, "small", "", cell[1]);
        } else {
          add(box, "b", "", cell);
        }
      }
    }
  }

  // ---- images

  drawStrip(kind) {
    const strip = this.root.querySelector(`.strip.${kind}`);
    strip.replaceChildren();
    for (const image of this.facts[`${kind}_images`]) {
      const button = add(strip, "button");
      button.type = "button";
      button.tabIndex = -1;
      button.dataset.id = image.id;
      const what = kind === "fp" ? "does not have it" : "has it";
      button.title = `${image.label}: predicted at ${percent(image.p)}, ${what}`;
      button.setAttribute("aria-label", button.title);
      const picture = add(button, "img");
      picture.src = image.image;
      picture.alt = "";
      add(button, "small", "", percent(image.p));
      button.onclick = () => this.send("picked", image.id);
    }
    strip.onkeydown = (event) => {
      const buttons = [...strip.querySelectorAll("button:not([hidden])")];
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const next = step && buttons[buttons.indexOf(event.target) + step];
      if (!next) return;
      for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
      next.focus();
      event.preventDefault();
    };
  }

  /** Show the images that are wrong at this threshold; they come most confident first. */
  filter(kind, isWrong, n) {
    const buttons = [...this.root.querySelectorAll(`.strip.${kind} button`)];
    let visible = 0;
    this.facts[`${kind}_images`].forEach((image, place) => {
      const wrong = isWrong(image);
      buttons[place].hidden = !wrong;
      buttons[place].tabIndex = wrong && !visible ? 0 : -1;
      visible += wrong;
    });
    const [what, order] = kind === "fp"
      ? ["False positives", "predicted, but the network does not have it"]
      : ["False negatives", "the network has it, but it is not predicted"];
    const shownOf = n > visible ? `${visible} of ${number(n)}` : number(n);
    const title = this.root.querySelector(`h4.${kind}`);
    title.replaceChildren();
    add(title, "b", "", `${what} (${shownOf})`);
    add(title, "span", "", n ? ` ${order}; most confident first` : " none at this threshold");
    this.root.querySelector(`.strip.${kind}`).setAttribute("aria-label", what);
  }
}
