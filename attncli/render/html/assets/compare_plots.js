// Occurrences on a plane, and values over the states.

const WIDE = 460;
const HIGH = 300;
const PAD = 42;

/** Numbers at round steps that span `low` to `high`. */
function ticks(low, high, most = 5) {
  const rough = (high - low || 1) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const made = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + 1e-9 * step; tick += step) made.push(Number(tick.toPrecision(6)));
  return made;
}

/** Low and high end of values, apart where they are all the same. */
function ends(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return high - low > 1e-9 ? [low, high] : [low - 0.5, high + 0.5];
}

/** The first two principal components, a number for each occurrence; the same unit on both axes. */
function plane(state, point) {
  const [xs, ys] = [0, 1].map((axis) => state.map.map((place) => place[axis]));
  const [left, right] = ends(xs);
  const [low, high] = ends(ys);
  const unit = Math.min((WIDE - 2 * PAD) / (right - left), (HIGH - 2 * PAD) / (high - low));
  const x = (value) => WIDE / 2 + (value - (left + right) / 2) * unit;
  const y = (value) => HIGH / 2 - (value - (low + high) / 2) * unit;
  const marks = data.occurrences.map((each, index) => {
    const dot = svg("circle", { cx: x(xs[index]), cy: y(ys[index]), r: 5, class: "dot", "data-occurrence": `${index}` });
    if (each.group !== null) dot.style.fill = data.groups[each.group][1];
    dot.addEventListener("pointermove", (event) => point(index, event));
    dot.addEventListener("pointerleave", () => point(null));
    const name = data.occurrences.length <= 60 ? svg("text", { x: x(xs[index]) + 7, y: y(ys[index]) + 4 }, each.name) : null;
    return [dot, name];
  });
  const [across, up] = state.explained.map((share) => `${Math.round(100 * share)} %`);
  const picture = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "plot", id: "map", role: "img", "aria-label": "map" }, ...marks.flat());
  return element("figure", {}, element("h3", {}, "Map"), picture, element("p", { class: "dim" }, `Two principal components, with ${across} and ${up} of the variance.`));
}

/** Means over pairs as thick lines, single pairs as thin ones; random words beneath them. */
function paths({ states, tracks }) {
  const known = tracks.flatMap((track) => track.values.filter((value) => value !== null));
  const [low, high] = ends(known);
  const x = (index) => PAD + (index / (states.length - 1)) * (WIDE - PAD - 8);
  const y = (value) => HIGH - 28 - ((value - low) / (high - low)) * (HIGH - 40);
  const rules = ticks(low, high).map((tick) => [
    svg("line", { x1: PAD, x2: WIDE - 8, y1: y(tick), y2: y(tick), class: "rule" }),
    svg("text", { x: PAD - 6, y: y(tick) + 4, "text-anchor": "end" }, figure(tick)),
  ]);
  const step = Math.ceil(states.length / 14);
  const names = states.map((state, index) => (index % step ? null : svg("text", { x: x(index), y: HIGH - 8, "text-anchor": "middle" }, `${state}`)));
  const lines = tracks.map((track, place) => trackLine(track, place, states, x, y)).reverse();
  const picture = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "plot", id: "path", role: "img", "aria-label": "values over the states" }, ...rules.flat(), ...names, ...lines);
  const keys = tracks.filter(({ kind }) => kind !== "pair").map((track, place) => element("span", {}, element("i", { class: `key ${track.kind} line${place}` }), ` ${track.name}`));
  if (tracks.some(({ kind }) => kind === "pair")) keys.push(element("span", {}, element("i", { class: "key pair" }), " each pair"));
  return element("figure", {}, element("h3", {}, "Mean cosine from state to state"), picture, element("p", { class: "dim keys" }, ...keys));
}

function trackLine(track, place, states, x, y) {
  const points = track.values.flatMap((value, index) => (value === null ? [] : [`${x(index)},${y(value)}`]));
  const line = svg("polyline", { points: points.join(" "), class: `track ${track.kind} line${place}`, "data-track": track.name });
  const wide = svg("polyline", { points: points.join(" "), class: "catch" });
  wide.addEventListener("pointermove", (event) => {
    const box = wide.ownerSVGElement.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width) * WIDE;
    const index = Math.max(0, Math.min(states.length - 1, Math.round(((share - PAD) / (WIDE - PAD - 8)) * (states.length - 1))));
    tell(event, `${track.name}, state ${states[index]}: `, element("b", {}, figure(track.values[index])));
    line.classList.add("here");
  });
  wide.addEventListener("pointerleave", () => {
    hush();
    line.classList.remove("here");
  });
  return svg("g", {}, line, wide);
}
