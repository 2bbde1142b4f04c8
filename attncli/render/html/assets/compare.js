// The page of a word in context: sentences, and what a state makes of them.

const view = element("section", { id: "state" });
const sentences = element("section", { id: "sentences" }, element("h3", {}, "Sentences"), sentenceTable());
const path = data.path ? paths(data.path) : null;

function chip(index) {
  const { name, group } = data.occurrences[index];
  const made = element("span", { class: "tile" }, name);
  if (group !== null) {
    made.style.background = data.groups[group][1];
    made.style.color = inkOn(data.groups[group][1].match(/[0-9a-f]{2}/g).map((part) => parseInt(part, 16)));
  }
  return made;
}

/** The word in its sentence. */
function context(index) {
  const [before, word, after] = data.occurrences[index].text;
  return element("span", { class: "context" }, before, element("mark", {}, word), after);
}

function sentenceTable() {
  const cutOtherwise = new Set(data.occurrences.map((each) => each.pieces.join(" "))).size > 1 || data.occurrences.some((each) => each.pieces.length > 1);
  const tagged = data.occurrences.some((each) => each.tag);
  const rows = data.occurrences.map((each, index) => {
    const cells = [chip(index), ...(tagged ? [each.tag] : []), context(index), ...(cutOtherwise ? [element("span", { class: "mono dim" }, each.pieces.join(" + "))] : [])];
    return element("tr", { "data-occurrence": `${index}` }, ...cells.map((cell) => element("td", {}, cell)));
  });
  return element("div", { class: "wide" }, element("table", {}, element("tbody", {}, ...rows)));
}

/** Mark sentences and dots of occurrences; none without arguments. */
function point(...indices) {
  const chosen = new Set(indices.map(String));
  for (const each of document.querySelectorAll("[data-occurrence]")) each.classList.toggle("here", chosen.has(each.dataset.occurrence));
}

async function drawState(index) {
  const state = data.states[index];
  const said = state.said.map((sentence) => element("p", {}, sentence));
  const parts = [element("h2", {}, state.title)];
  if (state.similarity && data.occurrences.length > 2) parts.push(await similarities(state));
  if (state.map) parts.push(plane(state, pointAt));
  view.replaceChildren(parts.shift(), element("div", { class: "side-by-side" }, ...parts), ...said);
}

function pointAt(index, event) {
  if (index === null) {
    hush();
    return point();
  }
  tell(event, chip(index), " ", context(index));
  return point(index);
}

async function similarities(state) {
  const [values, shares] = await Promise.all([square(state.similarity), state.percentile && square(state.percentile)]);
  const [low, high] = state.scale;
  const color = (value) => WEIGHTS[Math.round(255 * Math.max(0, Math.min(1, high - low > 1e-9 ? (value - low) / (high - low) : 1)))];
  const name = (index) => `${data.occurrences[index].name} ${data.occurrences[index].tag}`.trim();
  const picture = matrix({
    name: "similarities",
    rows: values.rows,
    columns: values.rows,
    beside: name,
    above: name,
    isDim: () => false,
    paint: (canvas) => paintSquare(canvas, values, color),
    number: (row, column) => row === column ? null : ({ text: figure(values.value(row, column)), ink: inkOn(color(values.value(row, column))) }),
    words: (row, column) => pairWords(row, column, values, shares),
  }, Math.min(view.clientWidth || 640, 720), (row, column) => (row === null ? point() : point(row, column)));
  return element("figure", {}, element("h3", {}, "Similarity"), picture, scaleLegend(figure(low), figure(high), "cosine; white: a word with itself"));
}

function paintSquare(canvas, values, color) {
  const size = values.rows;
  canvas.width = size;
  canvas.height = size;
  const image = new ImageData(size, size);
  for (let at = 0; at < size * size; at++) {
    const [row, column] = [Math.floor(at / size), at % size];
    // The diagonal says nothing.
    image.data.set([...(row === column ? [255, 255, 255] : color(values.value(row, column))), 255], 4 * at);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function pairWords(row, column, values, shares) {
  const beside = shares && row !== column ? element("div", { class: "dim" }, `more than ${(100 * shares.value(row, column)).toFixed(1)} % of random pairs`) : null;
  return [
    element("div", {}, chip(row), " ", context(row)), element("div", {}, chip(column), " ", context(column)),
    element("b", {}, values.value(row, column).toFixed(3)), beside,
  ].filter(Boolean);
}

function groupLegend() {
  if (!data.groups.length) return null;
  const entries = data.groups.map(([text, color]) => {
    const tile = element("span", { class: "tile" }, "\u00a0");
    tile.style.background = color;
    return element("span", {}, tile, ` ${text}`);
  });
  return element("p", { class: "keys dim" }, ...entries);
}

const several = data.states.length > 1;
const options = data.states.map((state, index) => [`${index}`, state.title]);
const controls = several ? element("div", { class: "controls" }, choice("state", "states", options, (value) => drawState(Number(value)))) : null;
show(controls, groupLegend(), sentences, view, path, data.best && element("p", {}, data.best));
const last = data.states.length - 1;
if (several) document.querySelector("#states").value = `${last}`;
if (last >= 0) drawState(last);
