// All heads of a stack: layers down, heads across; a picture, a letter or a metric's value in each.

/** Pixels a side of a head's small picture. */
const THUMBNAIL = 96;

const labelOf = (head) => (head.labels.length ? data.labels[head.labels[0]] : null);
const sentenceOf = (head) => head.labels.map((name) => data.labels[name].sentence).join(", ");

/** The grid as an element. `choose` is called with a head that was clicked. */
function headGrid(stack, { layer, view, shared, choose }) {
  const heads = stack.heads.filter((head) => layer === null || head.layer === layer);
  const across = [...new Set(heads.map((head) => head.head))].sort((a, b) => a - b);
  const grid = element("div", { class: `grid ${view}`, role: "grid", "aria-label": "heads", "aria-busy": "true" });
  grid.style.setProperty("--heads", across.length);
  const layers = layer === null ? stack.layers.length : 1;
  grid.style.setProperty("--layers", layers);
  // All layers fit the height of the window, and a letter doesn't fit a small cell.
  grid.classList.toggle("small", layers > 16);
  grid.append(element("div", { class: "row axis" }, element("span"), element("span", { class: "across" }, "head")), headings(across), ...rowsOf(stack, heads, across, choose));
  fill(grid, stack, heads, view, shared).then(() => grid.setAttribute("aria-busy", "false"));
  return grid;
}

function headings(across) {
  const names = across.map((head) => element("span", { role: "columnheader", class: "axis" }, head === null ? "" : `${head}`));
  return element("div", { role: "row", class: "row" }, element("span", { class: "axis corner" }, "layer"), ...names);
}

function rowsOf(stack, heads, across, choose) {
  const shown = new Set(heads.map((head) => head.layer));
  const lacking = new Map(stack.layers);
  const layers = stack.layers.map(([layer]) => layer).filter((layer) => shown.has(layer) || (lacking.get(layer) && shown.size > 1));
  return layers.map((layer) => {
    const own = new Map(heads.filter((head) => head.layer === layer).map((head) => [head.head, head]));
    const name = element("span", { role: "rowheader", class: "axis" }, `${layer}`);
    if (!own.size) return element("div", { role: "row", class: "row" }, name, element("span", { class: "mixer dim" }, lacking.get(layer)));
    const cells = across.map((index) => (own.has(index) ? cellOf(own.get(index), choose) : element("span", { role: "gridcell" })));
    return element("div", { role: "row", class: "row" }, name, ...cells);
  });
}

function cellOf(head, choose) {
  const label = labelOf(head);
  const said = [`head ${head.name}`, sentenceOf(head)].filter(Boolean).join(": ");
  const tile = label ? element("span", { class: "tile" }, label.letter) : null;
  if (label?.color) colored(tile, label.color);
  const content = [element("canvas"), element("span", { class: "value" }), tile];
  const cell = element("button", { type: "button", role: "gridcell", class: "head", tabindex: "-1", "data-head": head.name, "aria-label": said }, ...content);
  cell.addEventListener("click", () => choose(head));
  cell.addEventListener("pointermove", (event) => tell(event, said));
  cell.addEventListener("pointerleave", hush);
  return cell;
}

/** Labels have the same colours on dark and on light, with black letters, as in the terminal. */
function colored(tile, color) {
  tile.style.background = color;
  tile.style.color = "#000";
}

async function fill(grid, stack, heads, view, shared) {
  const cells = new Map([...grid.querySelectorAll(".head")].map((cell) => [cell.dataset.head, cell]));
  if (view === "pictures") await fillPictures(cells, stack, heads, shared);
  else if (view !== "labels") fillValues(cells, heads, view);
  for (const cell of cells.values()) cell.querySelector("canvas").hidden = view !== "pictures";
}

/** Layer by layer where there is much, so that the page answers in between. */
async function fillPictures(cells, stack, heads, shared) {
  const full = fullScale(stack);
  const hidden = unseen(stack);
  await unpackAll(stack);
  for (const head of heads) {
    const pattern = await patternOf(stack, head);
    const cell = cells.get(head.name);
    // Another grid has taken the place of this one.
    if (!cell.isConnected) return;
    if (pattern) paint(cell.querySelector("canvas"), stack.patches ? onGrid(stack, pattern) : pattern, shared ? full : pattern.scale, { most: THUMBNAIL, hidden });
  }
}

function fillValues(cells, heads, metric) {
  const index = data.metrics.findIndex((each) => each.name === metric);
  const { full, signed } = valueScale(heads, index);
  const colors = signed ? DIFFERENCES : WEIGHTS;
  for (const head of heads) {
    const [cell, value] = [cells.get(head.name), head.values?.[index] ?? null];
    const share = full > 0 ? (value ?? 0) / full : 0;
    const color = colors[Math.round(signed ? (share + 1) * 127.5 : 255 * Math.max(0, share))];
    const shown = cell.querySelector(".value");
    shown.textContent = figure(value);
    if (value === null) continue;
    cell.style.background = css(color);
    shown.style.color = inkOn(color);
  }
}

/** The largest absolute value of a metric, and whether any is below zero, as differences are. */
function valueScale(heads, index) {
  const values = heads.map((head) => head.values?.[index] ?? 0);
  return { full: Math.max(0, ...values.map(Math.abs)), signed: values.some((value) => value < 0) };
}

/** Whether no query of a row may see any key of a column, because it comes later. */
function unseen(stack) {
  if (!stack.causal) return () => false;
  const [rows, columns] = [stack.rows.places, (stack.columns ?? stack.rows).places];
  const lastQuery = rows ? (row) => rows[Math.min(row, rows.length - 1)][1] - 1 : (row) => row;
  const firstKey = columns ? (column) => columns[column][0] : (column) => column;
  return (row, column) => firstKey(column) > lastQuery(row);
}

/** From and to which position a row or a column stands. */
function placesOf(axis) {
  return axis.places ? (index) => axis.places[index] : (index) => [index, index + 1];
}
