// What was measured of an edge: its mark, and what a tip says of it.
//
// Measured is a list as `edge_words.drawn` makes it: places of verdict and origin, the effect in
// the weight's direction with its bounds, and the number of images. Filled: specific, hollow:
// supported, cross: contradicted; round: carried, square: computed, all of it or a part.

const VERDICT_WORDS = ["specific", "supported", "no effect", "contradicted"];
const ORIGIN_WORDS = ["carried", "computed", "carried and computed", ""];
const MARKED = { 0: "specific", 1: "supported", 3: "contradicted" };
const MARK = 3.4; // pixels from the middle of a mark to its rim
const AROUND_MARK = 7; // pixels within which a mark is pointed at
const ALONG = 0.68; // of the way from parent to child: few marks meet there

/** Return a group with the mark of an edge, or nothing for an edge without one. */
function evidenceMark(measured, kind, parent) {
  const name = measured && MARKED[measured[0]];
  if (!name) return null;
  const group = svg("g", { class: `evidence ${name}${kind}` }, parent);
  svg("circle", { class: "reach", r: AROUND_MARK }, group);
  const origin = measured[1];
  if (name === "contradicted") {
    svg("path", { class: "sign", d: `M-${MARK},-${MARK}L${MARK},${MARK}M-${MARK},${MARK}L${MARK},-${MARK}` }, group);
  } else if (origin === 1 || origin === 2) {
    svg("rect", { class: "sign", x: -MARK, y: -MARK, width: 2 * MARK, height: 2 * MARK }, group);
  } else {
    svg("circle", { class: "sign", r: MARK }, group);
  }
  return group;
}

/** Return where on an edge its mark stands. */
function markPlace([x0, y0], [x1, y1]) {
  const t = ALONG;
  const along = 1.5 * t * (1 - t) + t ** 3; // the curve leaves and arrives level
  return [x0 + (x1 - x0) * along, y0 + (y1 - y0) * (3 * t ** 2 - 2 * t ** 3)];
}

function minus(number, digits = 2) {
  return number.toFixed(digits).replace("-", "−");
}

/** Return what a tip says of an edge: what is predicted, and what was measured. */
function edgeLines({ from, to, weight, measured }) {
  const sign = weight < 0 ? "" : "+";
  const lines = [`predicted: weight ${sign}${minus(weight)}, ${weight < 0 ? "lowers" : "raises"} ${to.id}`];
  if (!measured) return [...lines, "not measured: too few images have the parent"];
  const [verdict, origin, effect, low, high, images] = measured;
  const away = (weight < 0) === (effect < 0) ? "lowers" : "raises";
  const turn = effect < 0 ? -1 : 1;
  const bounds = [low, high].map((bound) => turn * bound).sort((a, b) => a - b);
  const between = low === null || high === null ? "" : ` [${bounds.map((b) => minus(b)).join(", ")}]`;
  const says = [VERDICT_WORDS[verdict], ORIGIN_WORDS[origin]].filter(Boolean).join(", ");
  return [
    ...lines,
    `measured: removing ${from.id} ${away} ${to.id}’s pre-activation by ${
      minus(Math.abs(effect))} sd${between} in ${images} images: ${says}`,
  ];
}
