// Every metric as a map of layers and heads, for pages that have no patterns to show: means over texts or probes.

/** Pixels of a map with what stands around it. */
const MAP_WIDTH = 540;

/** The maps of a stack, and above them what they are. */
function metricMaps(stack) {
  const known = data.metrics.map((_, index) => index).filter((index) => stack.heads.some((head) => (head.values?.[index] ?? null) !== null));
  const maps = known.map((index) => metricMap(stack, index));
  return [element("h3", {}, "Every metric"), element("p", { class: "dim" }, "Layers down, heads across; each map has a scale of its own. A click opens the head."), element("div", { class: "maps" }, ...maps)];
}

function metricMap(stack, index) {
  const { name } = data.metrics[index];
  const { full, signed } = valueScale(stack.heads, index);
  const colors = signed ? DIFFERENCES : WEIGHTS;
  const layers = [...new Set(stack.heads.map((head) => head.layer))];
  const across = [...new Set(stack.heads.map((head) => head.head))].sort((a, b) => a - b);
  const heads = new Map(stack.heads.map((head) => [`${head.layer}.${head.head}`, head]));
  const headAt = (row, column) => heads.get(`${layers[row]}.${across[column]}`);
  const valueAt = (row, column) => headAt(row, column)?.values?.[index] ?? null;
  const colorOf = (value) => colors[Math.round(signed ? (value / (full || 1) + 1) * 127.5 : (255 * Math.max(0, value)) / (full || 1))];
  const view = {
    name, rows: layers.length, columns: across.length,
    beside: (row) => `${layers[row]}`,
    above: (column) => `${across[column]}`,
    counted: () => ({ top: 2, columns: ({ left, top, size }) => labels(across.length, 0.8 * size, (index) => lying(`${across[index]}`, left + (index + 0.5) * size, top - 6)) }),
    isDim: () => true,
    paint: (canvas) => paintValues(canvas, layers.length, across.length, (row, column) => valueAt(row, column) === null ? null : colorOf(valueAt(row, column))),
    number: (row, column) => (valueAt(row, column) === null ? null : { text: figure(valueAt(row, column)), ink: inkOn(colorOf(valueAt(row, column))) }),
    words: (row, column) => (headAt(row, column) ? [`head ${headAt(row, column).name}: `, element("b", {}, figure(valueAt(row, column)))] : ["no head"]),
  };
  let under = null;
  const drawn = matrix(view, MAP_WIDTH, (row, column) => { under = row === null ? null : headAt(row, column); });
  drawn.addEventListener("click", () => under && update({ head: under.name }));
  const uniform = evenText(stack, index);
  const title = element("h4", {}, name, element("span", { class: "dim" }, ` ${meaningOf(stack, data.metrics[index])}${uniform}`));
  return element("figure", { "data-map": name }, title, drawn, scaleLegend(signed ? `−${scaleText(full)}` : "0", scaleText(full), null, colors));
}

/** What even attention would have, from the smallest to the largest of the layers. */
function evenText(stack, index) {
  const even = Object.values(stack.uniform).map((values) => values[index]).filter((value) => value !== null);
  if (!even.length) return "";
  const ends = [...new Set([Math.min(...even), Math.max(...even)].map(figure))];
  return `; uniform ${ends.join(" to ")}`;
}

/** A pixel a cell; nothing where there is no number. */
function paintValues(canvas, rows, columns, colorAt) {
  Object.assign(canvas, { width: columns, height: rows });
  const pen = canvas.getContext("2d");
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const color = colorAt(row, column);
      if (!color) continue;
      pen.fillStyle = css(color);
      pen.fillRect(column, row, 1, 1);
    }
  }
}
