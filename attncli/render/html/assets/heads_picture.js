// The picture that the model saw, with the weights of one position over its patches.

/** How much of a patch's colour is its weight's, at no weight and at full scale; the rest is the grey of the picture. */
const [LEAST_TINT, MOST_TINT] = [0.35, 0.9];
/** Grey is the picture's luminance (ITU-R BT.601), less bright than colours so that it does not pass for a weight. */
const [LUMINANCE, GREY] = [[0.299, 0.587, 0.114], 0.8];
/** Pixels of a side of a map, and of the picture beside all heads. */
const [LARGEST_MAP, SMALL_PICTURE] = [448, 128];

/** The picture in its colours and in grey, as canvases of its own size; null where the page has none. */
const seen = data.picture ? unpackedPicture(data.picture) : null;
/** The position that was chosen last, which stays chosen from head to head. */
let lastQuery = null;

async function unpackedPicture({ height, width, content }) {
  const bytes = await inflated(content);
  const [color, grey] = [new ImageData(width, height), new ImageData(width, height)];
  for (let pixel = 0; pixel < height * width; pixel++) {
    const [red, green, blue] = bytes.subarray(3 * pixel, 3 * pixel + 3);
    const light = GREY * (red * LUMINANCE[0] + green * LUMINANCE[1] + blue * LUMINANCE[2]);
    color.data.set([red, green, blue, 255], 4 * pixel);
    grey.data.set([light, light, light, 255], 4 * pixel);
  }
  return { color: canvasOf(color), grey: canvasOf(grey) };
}

function canvasOf(image) {
  const canvas = element("canvas", { width: image.width, height: image.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** The picture as it stands beside all heads. */
function smallPicture() {
  const canvas = element("canvas", { class: "seen", role: "img", "aria-label": "the picture, as the model saw it" });
  seen?.then(({ color }) => {
    const share = SMALL_PICTURE / Math.max(color.width, color.height);
    [canvas.width, canvas.height] = [Math.round(color.width * share), Math.round(color.height * share)];
    canvas.getContext("2d").drawImage(color, 0, 0, canvas.width, canvas.height);
  });
  return canvas;
}

class PatchMap {
  /** A pattern whose columns are patches. Rows may be patches of the same picture, or words that were said of it. */
  constructor(stack, pattern, pictures, width) {
    Object.assign(this, { stack, pattern, pictures, grid: stack.patches.keys });
    [this.rows, this.columns] = [stack.rows, stack.columns ?? stack.rows];
    this.columnCells = cellsOf(this.columns, pattern.columns, this.grid);
    this.rowCells = cellsOf(this.rows, pattern.rows, stack.patches.queries);
    this.both = pattern.rows > 1 && !stack.columns;
    this.backwards = false;
    this.chosen = lastQuery?.stack === stack && lastQuery.row < pattern.rows ? lastQuery.row : this.first();
    const room = Math.min(LARGEST_MAP, pictures ? (width - 24) / 2 : width);
    this.ratio = Math.max(1, devicePixelRatio);
    this.side = Math.max(1, Math.floor((this.ratio * room) / Math.max(this.grid.columns, this.grid.rows)));
    this.map = this.canvas("map", "weights over the picture");
    this.plain = pictures ? this.canvas("plain", "the picture, as the model saw it") : null;
    this.said = element("p", { class: "said", "aria-live": "polite" });
    this.scale = element("div", {});
    this.element = element("section", { id: "picture" }, this.heading(), this.strip(), element("div", { class: "maps" }, this.map, this.plain), this.scale, this.said);
    this.draw(this.chosen);
  }

  /** What is shown at first: the class token, or the patch in the middle, or the first word. */
  first() {
    const { queries } = this.stack.patches;
    if (this.rows.special.includes(0)) return queries ? 0 : Math.max(this.rows.texts.findIndex((_, row) => !this.rows.special.includes(row)), 0);
    const middle = queries ? Math.floor(queries.rows / 2) * queries.columns + Math.floor(queries.columns / 2) : -1;
    return Math.max(this.rowCells.indexOf(middle), 0);
  }

  heading() {
    const turn = element("input", { type: "checkbox", id: "backwards" });
    turn.addEventListener("change", () => {
      this.backwards = turn.checked;
      this.clear();
    });
    const label = this.both ? element("label", { class: "screen dim" }, turn, " who looks at a patch, instead of where it looks") : null;
    const can = this.pattern.rows > 1 && this.rowCells.some((cell) => cell !== null) ? "A click on a patch, or an arrow, makes it the one that looks." : "";
    return element("div", { class: "controls heading" }, element("h3", {}, "In the picture"), label, element("span", { class: "dim screen keys" }, can));
  }

  /** What looks and is no patch: the class token, registers, the words of a caption. */
  strip() {
    if (this.pattern.rows === 1) return null;
    const tokens = [...this.rowCells.keys()].filter((row) => this.rowCells[row] === null).map((row) => this.token(row));
    tokens[0]?.setAttribute("tabindex", "0");
    return tokens.length ? element("div", { class: "strip", role: "listbox", "aria-label": "queries" }, ...tokens) : null;
  }

  token(row) {
    const special = this.rows.special.includes(row) ? " dim" : "";
    const made = element("span", { class: `token${special}`, role: "option", tabindex: "-1", "data-row": `${row}` }, nameOf(this.rows, row));
    made.addEventListener("pointerenter", () => this.draw(row));
    made.addEventListener("pointerleave", () => this.clear());
    made.addEventListener("focus", () => this.pin(row));
    made.addEventListener("click", () => this.pin(row));
    made.addEventListener("keydown", (event) => walk(event, made));
    return made;
  }

  canvas(name, label) {
    const { grid, side, ratio } = this;
    const made = element("canvas", { class: name, width: grid.columns * side, height: grid.rows * side, role: "img", "aria-label": label });
    Object.assign(made.style, { width: `${made.width / ratio}px`, height: `${made.height / ratio}px` });
    made.addEventListener("pointermove", (event) => this.tell(event, this.cellUnder(event, made)));
    made.addEventListener("pointerleave", hush);
    if (this.pattern.rows === 1 || !this.rowCells.some((cell) => cell !== null)) return made;
    made.classList.add("choosable");
    made.addEventListener("click", (event) => this.choose(this.cellUnder(event, made)));
    if (name === "map") {
      made.setAttribute("tabindex", "0");
      made.addEventListener("keydown", (event) => this.step(event));
    }
    return made;
  }

  cellUnder(event, canvas) {
    const box = canvas.getBoundingClientRect();
    const at = (place, length, count) => Math.min(Math.max(Math.floor((place / length) * count), 0), count - 1);
    const { rows, columns } = this.grid;
    return at(event.clientY - box.top, box.height, rows) * columns + at(event.clientX - box.left, box.width, columns);
  }

  choose(cell) {
    const row = this.rowCells.indexOf(cell);
    if (row >= 0) this.pin(row);
  }

  /** Arrows go on to the patch beside the one that looks, and no further: heads stay where they are. */
  step(event) {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [];
    if (down === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const { rows, columns } = this.grid;
    const cell = this.rowCells[this.chosen];
    if (cell === null) return this.choose(0);
    const [row, column] = [Math.floor(cell / columns) + down, (cell % columns) + right];
    if (row >= 0 && column >= 0 && row < rows && column < columns) this.choose(row * columns + column);
  }

  pin(row) {
    this.chosen = row;
    lastQuery = { stack: this.stack, row };
    this.draw(row);
  }

  clear() {
    this.draw(this.chosen);
  }

  value(row, column) {
    return this.backwards ? this.pattern.value(column, row) : this.pattern.value(row, column);
  }

  /** Show where one position looks: of a row of the pattern. */
  draw(row) {
    this.shown = row;
    const weights = Array.from({ length: this.pattern.columns }, (_, column) => this.value(row, column));
    const full = Math.max(0, ...weights.filter((_, column) => this.columnCells[column] !== null).map(Math.abs));
    this.paint(weights, full);
    for (const canvas of [this.map, this.plain]) if (canvas) this.frame(canvas.getContext("2d"), this.rowCells[row]);
    for (const token of this.element?.querySelectorAll(".token[data-row]") ?? []) token.setAttribute("aria-selected", `${token.dataset.row === `${row}`}`);
    this.legend(weights, full);
    this.say(row, weights);
  }

  paint(weights, full) {
    const context = this.map.getContext("2d");
    const { width, height } = this.map;
    context.clearRect(0, 0, width, height);
    if (this.pictures) {
      context.drawImage(this.pictures.grey, 0, 0, width, height);
      this.plain.getContext("2d").drawImage(this.pictures.color, 0, 0, width, height);
    }
    weights.forEach((weight, column) => this.columnCells[column] !== null && this.tint(context, this.columnCells[column], full ? weight / full : 0));
  }

  tint(context, cell, share) {
    const { colors, signed } = this.pattern;
    const color = colors[Math.round(signed ? (share + 1) * 127.5 : share * 255)];
    const amount = this.pictures ? LEAST_TINT + (MOST_TINT - LEAST_TINT) * Math.abs(share) : 1;
    context.fillStyle = `rgba(${color.join(", ")}, ${amount})`;
    const { left, top } = this.corner(cell);
    context.fillRect(left, top, this.side, this.side);
  }

  /** The patch that looks. */
  frame(context, cell) {
    if (cell === null) return;
    const [{ left, top }, wide] = [this.corner(cell), Math.max(1, Math.round(1.5 * this.ratio))];
    for (const [color, inset] of [["#000", wide / 2], ["#fff", 1.5 * wide]]) {
      Object.assign(context, { strokeStyle: color, lineWidth: wide });
      context.strokeRect(left + inset, top + inset, this.side - 2 * inset, this.side - 2 * inset);
    }
  }

  corner(cell) {
    const { columns } = this.grid;
    return { left: (cell % columns) * this.side, top: Math.floor(cell / columns) * this.side };
  }

  legend(weights, full) {
    const { signed, colors } = this.pattern;
    const beside = weights.flatMap((weight, column) => (this.columnCells[column] === null ? [` ${nameOf(this.columns, column)} ${weightText(weight)}`] : []));
    const high = scaleText(full);
    const own = this.pattern.rows > 1 ? "each position that looks has a scale of its own" : "";
    this.scale.replaceChildren(scaleLegend(signed ? `−${high}` : "0", high, own, colors));
    if (beside.length) this.scale.firstChild.append(element("span", {}, `beside the patches:${beside.slice(0, 4).join(",")}${beside.length > 4 ? " …" : ""}`));
  }

  name(axis, index, cells) {
    return element("span", { class: "token" }, `${cells[index] === null ? "" : "patch "}${nameOf(axis, index)}`);
  }

  say(row, weights) {
    const found = weights.map((weight, column) => ({ weight, column })).filter(({ weight }) => weight !== 0);
    found.sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
    const parts = found.slice(0, NAMED).flatMap(({ weight, column }, place) => [place ? ", " : "", element("span", { class: "token" }, nameOf(this.columns, column)), ` ${weightText(weight)}`]);
    const verb = this.backwards ? " is looked at by " : " looks at ";
    this.said.replaceChildren(this.name(this.rows, row, this.rowCells), verb, ...(parts.length ? parts : ["nothing"]), found.length > NAMED ? " …" : "");
  }

  tell(event, cell) {
    const column = this.columnCells.indexOf(cell);
    if (column < 0) return hush();
    const [from, to] = [this.name(this.rows, this.shown, this.rowCells), this.name(this.columns, column, this.columnCells)];
    const weight = element("b", {}, weightText(this.value(this.shown, column)));
    return tell(event, ...(this.backwards ? [to, " → ", from] : [from, " → ", to]), element("br"), weight);
  }
}

/** The cell of a grid that each of an axis' positions is; null for what is none. */
function cellsOf(axis, count, grid) {
  const places = placesOf(axis);
  return Array.from({ length: count }, (_, index) => {
    const cell = grid ? places(index)[0] - grid.first : -1;
    return cell >= 0 && cell < grid.rows * grid.columns ? cell : null;
  });
}

/** The weights of an only position over patches, as a pattern of the grid that they lie in; any other as it is. */
function onGrid(stack, pattern) {
  if (!stack.patches || pattern.rows > 1) return pattern;
  const { rows, columns } = stack.patches.keys;
  const numbers = new Uint16Array(rows * columns).fill(pattern.zero);
  cellsOf(stack.columns ?? stack.rows, pattern.columns, stack.patches.keys).forEach((cell, column) => {
    if (cell !== null) numbers[cell] = pattern.numbers[column];
  });
  return Object.assign(Object.create(pattern), { rows, columns, numbers });
}
