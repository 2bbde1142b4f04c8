// The page of heads: what is chosen, and what is drawn of it.

/** Heads come as lists of layer, head, values, places of labels, and intervals. */
const labelNames = Object.keys(data.labels);
for (const stack of data.stacks) {
  stack.heads = stack.heads.map(([layer, head, values, labels, give]) => {
    const name = head === null ? `rollout to layer ${layer}${stack.corrected ?? ""}` : `${stack.prefix}${layer}.${head}`;
    return { name, layer, head, values, labels: (labels ?? []).map((place) => labelNames[place]), give };
  });
}

/** Tokens that the overview writes out. */
const MOST_TOKENS = 80;

const state = { stack: 0, layer: null, view: firstView(), shared: true, head: null };

const controls = element("div", { class: "controls", id: "controls" });
const about = element("div", { class: "dim", id: "about" });
const holder = element("div", { class: "wide", id: "heads" });
const legend = element("div", { id: "legend" });
const side = element("section", { id: "side" }, controls, about, holder, legend);
const said = element("section", { id: "said" });
const detail = element("section", { id: "head", hidden: true, tabindex: "-1" });
const read = element("section", { id: "reading" });
const maps = element("section", { id: "maps" });
const main = [detail, read, side, said, maps];

const stackNow = () => data.stacks[state.stack];
const headNow = () => stackNow().heads.find((head) => head.name === state.head) ?? null;
/** Within a frame of a notebook there is no address to write the chosen head to. */
const hasAddress = location.protocol !== "about:";

function firstView() {
  if (data.metric) return data.metric;
  if (data.stacks.some((stack) => stack.blocks.length)) return "pictures";
  // A difference, which a comparison opens with, has no labels.
  return data.first ? data.metrics[0].name : "labels";
}

// --- what can be chosen ---

function drawControls() {
  const stack = stackNow();
  const parts = [];
  if (data.stacks.length > 1) parts.push(tabs());
  const layers = [...new Set(stack.heads.map((head) => head.layer))];
  if (layers.length > 1) {
    const options = [["", "all"], ...layers.map((layer) => [`${layer}`, `${layer}`])];
    parts.push(choice("layer", "layer", options, (value) => update({ layer: value === "" ? null : Number(value) })));
  }
  parts.push(choice("show", "view", views(stack), (value) => update({ view: value })));
  if (state.view === "pictures") parts.push(sharing());
  controls.replaceChildren(...parts);
  setValue("layer", state.layer ?? "");
  setValue("view", state.view);
}

function setValue(id, value) {
  const select = controls.querySelector(`#${id}`);
  if (select) select.value = `${value}`;
}

function tabs() {
  const made = data.stacks.map((stack, index) => {
    const tab = element("button", { type: "button", role: "tab", "aria-selected": `${index === state.stack}`, "data-stack": stack.name }, stack.name);
    tab.addEventListener("click", () => update({ stack: index, layer: null, head: null }));
    return tab;
  });
  return element("div", { role: "tablist", "aria-label": "stacks" }, ...made);
}

function views(stack) {
  const known = data.metrics.filter((_, index) => stack.heads.some((head) => (head.values?.[index] ?? null) !== null));
  const pictures = stack.blocks.length ? [["pictures", "patterns"]] : [];
  return [...pictures, ["labels", "labels"], ...known.map(({ name }) => [name, name])];
}

function sharing() {
  const box = element("input", { type: "checkbox", id: "shared" });
  box.checked = state.shared;
  box.addEventListener("change", () => update({ shared: box.checked }));
  return element("label", { class: "sharing" }, box, "one scale for all heads");
}

// --- all heads ---

function drawOverview() {
  const stack = stackNow();
  about.replaceChildren(stack.title, ...textOf(stack), element("p", { class: "how screen" }, howTo()));
  holder.replaceChildren(headGrid(stack, { ...state, choose: (head) => update({ head: head.name }) }));
  legend.replaceChildren(...legendOf(stack));
  side.dataset.view = state.view;
  said.replaceChildren(...sentences(stack));
  maps.replaceChildren(...(stack.blocks.length || data.metric ? [] : metricMaps(stack)));
  read.replaceChildren();
  if (stack.reading) readingOf(stack, read.clientWidth || 640).then((parts) => stackNow() === stack && read.replaceChildren(...parts));
  mark();
}

/** What the squares are, and what can be done with them. */
function howTo() {
  const shown = { pictures: "its pattern", labels: "a letter: what it looks at", ...data.shows }[state.view] ?? `its ${state.view}`;
  return `Layers down, heads across: ${shown}. Click to open.`;
}

/** The picture, or the text as its tokens where there is one and it is short. */
function textOf(stack) {
  if (stack.patches && data.picture) return [element("p", { class: "tokens" }, smallPicture())];
  const { texts, special } = stack.columns ?? stack.rows;
  // It stands above, shaded.
  if (stack.reading) return [];
  if (!texts.length || texts.length > MOST_TOKENS) return [];
  const tokens = texts.flatMap((text, index) => [element("span", { class: special.includes(index) ? "token dim" : "token" }, text), " "]);
  return [element("p", { class: "tokens" }, ...tokens)];
}

function legendOf(stack) {
  const heads = stack.heads.filter((head) => state.layer === null || head.layer === state.layer);
  const named = state.view === "pictures" || state.view === "labels" ? labelLegend(heads) : null;
  if (state.view === "labels") return [named];
  if (state.view === "pictures") {
    const full = fullScale(stack);
    const signed = stack.blocks.some((block) => block.signed);
    const colors = signed ? DIFFERENCES : WEIGHTS;
    const high = state.shared ? scaleText(full) : "each head's largest";
    return [scaleLegend(signed ? `−${high}` : "0", high, stack.legend, colors), named];
  }
  const index = data.metrics.findIndex(({ name }) => name === state.view);
  const { full, signed } = valueScale(heads, index);
  return [scaleLegend(signed ? `−${scaleText(full)}` : "0", scaleText(full), meaningOf(stack, data.metrics[index]), signed ? DIFFERENCES : WEIGHTS)];
}

function labelLegend(heads) {
  const names = [...new Set(heads.flatMap((head) => head.labels.slice(0, 1)))];
  const entries = names.map((name) => element("span", {}, tileOf(name), ` ${data.labels[name].target}`));
  return element("p", { class: "labels dim" }, ...entries);
}

function tileOf(name) {
  const { letter, color } = data.labels[name];
  const tile = element("span", { class: "tile" }, letter);
  if (color) colored(tile, color);
  return tile;
}

/** The heads that stand out, a sentence each. */
function sentences(stack) {
  const rows = stack.standouts.map((found) => {
    const [value, even] = [figure(found.value), figure(found.uniform)];
    const cells = [found.label ? tileOf(found.label) : "", headButton(found.head), found.sentence, `${found.metric} ${value}`, found.uniform === null ? "" : `uniform ${even}`];
    return element("tr", {}, ...cells.map((cell, index) => element("td", { class: index > 3 ? "dim" : "" }, cell)));
  });
  return rows.length ? [element("h3", {}, stack.said ?? "Heads that stand out"), element("div", { class: "wide" }, element("table", {}, element("tbody", {}, ...rows)))] : [];
}

/** The name of a head, which opens it. */
function headButton(name) {
  const open = element("button", { type: "button", class: "plain", "data-open": name }, name);
  open.addEventListener("click", () => update({ head: name }));
  return open;
}

// --- one head ---

async function drawHead() {
  const [stack, head] = [stackNow(), headNow()];
  detail.hidden = !head;
  side.parentElement.classList.toggle("open", Boolean(head));
  if (!head) return;
  const pattern = await patternOf(stack, head);
  const pictures = stack.patches && (await seen);
  if (headNow() !== head) return;
  const links = pattern && linksOf(stack, pattern, pictures);
  const parts = [headTitle(head), ...(pattern ? picture(stack, head, pattern, links) : []), metricTable(stack, head)];
  detail.replaceChildren(...parts.filter(Boolean));
  // There is but one token to point at.
  if (pattern?.rows === 1) links.pin(0);
  detail.dataset.head = head.name;
}

function headTitle(head) {
  const back = element("button", { type: "button", class: "screen", id: "back", title: "Escape" }, "← all heads");
  back.addEventListener("click", () => update({ head: null }));
  const name = element("h2", {}, head.head === null ? head.name : `head ${head.name}`);
  const labels = head.labels.map((label) => element("span", {}, tileOf(label), ` ${data.labels[label].sentence}`));
  const keys = element("span", { class: "dim screen keys" }, "arrow keys: the heads beside it");
  return element("div", { class: "controls heading title" }, back, name, ...labels, keys);
}

/** What a row looks at, drawn over the picture, the sound or the text; a page has what draws the kind that it is of. */
function linksOf(stack, pattern, pictures) {
  const width = detail.clientWidth || 640;
  if (stack.patches) return new PatchMap(stack, pattern, pictures, width);
  return stack.kind === "frames" ? new Timeline(stack, pattern, width) : new Links(stack, pattern);
}

function picture(stack, head, pattern, links) {
  const point = (row) => (row === null ? links.clear() : links.draw(row));
  const width = detail.clientWidth || 640;
  const colors = pattern.colors;
  const high = scaleText(pattern.scale);
  const scale = scaleLegend(pattern.signed ? `−${high}` : "0", high, stack.legend, colors);
  const pooled = stack.pooling ? element("p", { class: "dim" }, stack.pooling) : null;
  const exact = element("p", { class: "dim", id: "exactness" }, exactnessOf(pattern));
  // A picture says all that an only row of its patches does, and more than the matrix of all of them.
  if (stack.patches && pattern.rows === 1) return [links.element, exact];
  const weights = element("figure", {}, matrix(patternView(stack, head, pattern), width, point), scale, pooled, exact);
  return stack.patches ? [links.element, weights] : [weights, links.element];
}

/** Rounding moves a weight by one and a half steps at most (see page.py), and keeps the digits that are written. */
function exactnessOf({ scale, steps }) {
  const parts = Math.floor(steps / 1.5);
  return `Weights are kept in twelve bits: each is exact to 1/${parts} of this head's largest, ${weightText(scale / parts)}.`;
}

/** What a metric says of tokens, or of what stands for them. */
function meaningOf(stack, { name, meaning }) {
  return stack.meanings?.[name] ?? meaning;
}

/** Every metric of a head beside what even attention would have, and how sure a mean is. */
function metricTable(stack, head) {
  if (!head.values) return null;
  const uniform = stack.uniform[head.layer] ?? [];
  const number = (text, name = "td") => element(name, { class: "number" }, text);
  const rows = data.metrics.map(({ name, meaning }, index) => {
    const give = head.give ? [number(head.give[index] === null ? "" : `± ${figure(head.give[index])}`)] : [];
    return element("tr", { "data-metric": name }, element("td", {}, name), number(figure(head.values[index])), ...give, number(figure(uniform[index])), element("td", { class: "dim" }, meaningOf(stack, { name, meaning })));
  });
  const columns = [element("th"), number("here", "th"), ...(head.give ? [number("95 %", "th")] : []), number("uniform", "th"), element("th")];
  const table = element("table", { id: "metrics" }, element("thead", {}, element("tr", {}, ...columns)), element("tbody", {}, ...rows));
  return element("section", {}, element("h3", {}, "Figures"), element("div", { class: "wide" }, table));
}

// --- moving about ---

/** Mark the chosen head in the grid; it, or the first, is where the keyboard enters. */
function mark() {
  const cells = [...holder.querySelectorAll(".head")];
  for (const cell of cells) {
    cell.setAttribute("tabindex", "-1");
    cell.setAttribute("aria-selected", `${cell.dataset.head === state.head}`);
  }
  (cells.find((cell) => cell.dataset.head === state.head) ?? cells[0])?.setAttribute("tabindex", "0");
}

/** The head that an arrow leads to: the nearest one in that direction, within the layers that are shown. */
function beside(head, key) {
  const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
  const heads = stackNow().heads.filter((other) => state.layer === null || other.layer === state.layer);
  const ahead = heads.filter((other) => (right ? other.layer === head.layer && (other.head - head.head) * right > 0 : (other.layer - head.layer) * down > 0));
  const distance = (other) => (right ? Math.abs(other.head - head.head) : 1000 * Math.abs(other.layer - head.layer) + Math.abs(other.head - head.head));
  return ahead.sort((a, b) => distance(a) - distance(b))[0] ?? null;
}

function keydown(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest?.("select, input")) return;
  if (event.key === "Escape" && state.head) return close();
  if (!event.key.startsWith("Arrow")) return;
  const focused = holder.contains(document.activeElement) ? document.activeElement.dataset.head : null;
  const from = stackNow().heads.find((head) => head.name === (state.head ?? focused));
  const next = from && beside(from, event.key);
  if (!from) return;
  event.preventDefault();
  if (!next) return;
  if (state.head) update({ head: next.name });
  else focusHead(next.name);
}

function close() {
  const left = state.head;
  update({ head: null });
  focusHead(left);
}

function focusHead(name) {
  const cell = [...holder.querySelectorAll(".head")].find((each) => each.dataset.head === name);
  if (!cell) return;
  for (const other of holder.querySelectorAll(".head")) other.setAttribute("tabindex", "-1");
  cell.setAttribute("tabindex", "0");
  cell.focus();
}

/** Change what is chosen, and draw what that changes. */
function update(changes) {
  const onlyHead = Object.keys(changes).join() === "head";
  Object.assign(state, changes);
  hush();
  if (!onlyHead) {
    drawControls();
    drawOverview();
  }
  mark();
  drawHead();
  if (hasAddress) location.replace(`#${encodeURIComponent(state.head ?? "")}`);
}

/** The only head opens by itself; where two sides were compared, their difference comes first. */
function firstChoice() {
  const stack = data.first ?? 0;
  const { heads } = data.stacks[stack];
  return { stack, head: heads.length === 1 ? heads[0].name : null };
}

/** Open the head that the address names; whether there is one. */
function fromAddress() {
  const given = hasAddress ? location.hash.slice(1) : "";
  const named = (head) => encodeURIComponent(head.name) === given;
  const stack = data.stacks.findIndex((each) => each.heads.some(named));
  if (stack >= 0) update({ stack, head: data.stacks[stack].heads.find(named).name });
  return stack >= 0;
}

show(...main);
if (!fromAddress()) update(firstChoice());
addEventListener("hashchange", fromAddress);
addEventListener("keydown", keydown);
let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(drawHead, 150);
});
