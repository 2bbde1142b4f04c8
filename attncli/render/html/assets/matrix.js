// Cells in their colours with texts on both sides, and what is under the pointer.
//
// What is to be seen is a view: { name, rows, columns (counts), beside, above (texts by index), isDim (index of either
// side), paint (draws a pixel a cell onto a canvas), number (text and colour of a cell, or null), words (nodes to be
// said of a cell) }; longest (characters beside a row); and counted (of the pixels there are), what stands in place of
// texts: { left, top (characters), rows, columns (labels, of a frame) }, of which any may be missing.

const LARGEST_CELL = 44;
const CELL_WITH_NUMBER = 26;
const LABEL = 14;
/** Pixels that few rows take together at least, where cells are narrower than they could be tall. */
const LEAST_HEIGHT = 160;
/** Characters of a label that are shown beside a row and above a column, and pixels that each takes there. */
const [LONGEST_BESIDE, LONGEST_ABOVE] = [15, 12];
const [WIDTH_BESIDE, HEIGHT_ABOVE, WIDTH_ABOVE] = [7.4, 6.6, 3.8];

/** `text` in at most `most` characters. */
function cut(text, most) {
  const characters = Array.from(text);
  return characters.length <= most ? text : `${characters.slice(0, most - 1).join("")}…`;
}

/** The view as an element `width` pixels wide at most. `point` is told the row and column under the pointer, or nulls. */
function matrix(view, width, point) {
  const { left, top, right } = margins(view, width);
  const size = cellSize(Math.max(width - left - right, 200), Math.max(view.rows, view.columns));
  const tall = Math.max(size, Math.min(LABEL, Math.floor(LEAST_HEIGHT / view.rows)));
  const frame = { left, top, size, tall, width: view.columns * size, height: view.rows * tall };
  const canvas = element("canvas", { class: size < 1 ? "fine" : "" });
  view.paint(canvas);
  Object.assign(canvas.style, { left: `${left}px`, top: `${top}px`, width: `${frame.width}px`, height: `${frame.height}px` });
  const whole = { width: left + frame.width + right, height: top + frame.height + 4 };
  const picture = drawing(view, frame, whole, width);
  const box = element("div", { class: "matrix" }, canvas, picture);
  Object.assign(box.style, { width: `${whole.width}px`, height: `${whole.height}px` });
  follow(picture, view, frame, point);
  return element("div", { class: "wide" }, box);
}

/** Pixels around the cells: what the longest labels take. */
function margins(view, width) {
  const longest = (count, text, most) => Math.min(most, Math.max(0, ...Array.from({ length: count }, (_, index) => Array.from(text(index)).length)));
  const counted = view.counted?.(width) ?? {};
  const beside = counted.left ?? longest(view.rows, view.beside, view.longest ?? LONGEST_BESIDE);
  const above = counted.top ?? longest(view.columns, view.above, LONGEST_ABOVE);
  return { left: Math.ceil(beside * WIDTH_BESIDE) + 14, top: Math.ceil(above * HEIGHT_ABOVE) + 14, right: Math.ceil(above * WIDTH_ABOVE) };
}

/** Whole pixels where cells are large enough to look uneven without. */
function cellSize(room, count) {
  const size = Math.min(LARGEST_CELL, room / count);
  return size < 4 ? size : Math.floor(size);
}

function drawing(view, frame, whole, room) {
  const { left, top, size, tall, width, height } = frame;
  const counted = view.counted?.(room) ?? {};
  const marks = [svg("rect", { class: "mark row", hidden: true }), svg("rect", { class: "mark column", hidden: true })];
  return svg(
    "svg",
    { ...whole, role: "img", "aria-label": view.name },
    ...(counted.rows?.(frame) ?? labels(view.rows, tall, (index, at) => rowLabel(view, index, left - 6, top + at + 4))),
    ...(counted.columns?.(frame) ?? labels(view.columns, size, (index, at) => columnLabel(view, index, left + at + 3, top - 6))),
    svg("rect", { x: left, y: top, width, height, class: "frame" }),
    ...(size >= CELL_WITH_NUMBER ? numbersOf(view, frame) : []), ...marks,
  );
}

/** As many labels as there is room for. */
function labels(count, size, draw) {
  const step = roundStep(LABEL / size);
  const made = [];
  for (let index = 0; index < count; index += step) made.push(draw(index, (index + 0.5) * size));
  return made;
}

/** How many go from one label to the next: from ten on 20, 50, 100 and so on, so that times and numbers are round. */
function roundStep(least) {
  const step = Math.max(1, Math.ceil(least));
  if (step <= 10) return step;
  const ten = 10 ** Math.floor(Math.log10(step));
  return ten * [1, 2, 5, 10].find((digit) => digit * ten >= step);
}

function rowLabel(view, index, x, y) {
  const given = { class: view.isDim("beside", index) ? "token dim" : "token", "text-anchor": "end", x, y };
  return svg("text", given, cut(view.beside(index), view.longest ?? LONGEST_BESIDE));
}

function columnLabel(view, index, x, y) {
  const given = { class: view.isDim("above", index) ? "token dim" : "token", transform: `translate(${x} ${y}) rotate(-60)` };
  return svg("text", given, cut(view.above(index), LONGEST_ABOVE));
}

function numbersOf(view, { left, top, size, tall }) {
  const made = [];
  for (let row = 0; row < view.rows; row++) {
    for (let column = 0; column < view.columns; column++) {
      const number = view.number(row, column);
      if (!number) continue;
      const [x, y] = [left + (column + 0.5) * size, top + (row + 0.5) * tall + 4];
      made.push(svg("text", { class: "number", "text-anchor": "middle", x, y, fill: number.ink }, number.text));
    }
  }
  return made;
}

function follow(picture, view, frame, point) {
  const leave = () => {
    hush();
    cross(picture, null, frame);
    point(null, null);
  };
  picture.addEventListener("pointermove", (event) => {
    const found = cellUnder(event, picture, view, frame);
    if (!found) return leave();
    cross(picture, found, frame);
    tell(event, ...view.words(...found));
    return point(...found);
  });
  picture.addEventListener("pointerleave", leave);
}

function cellUnder(event, picture, view, { left, top, size, tall }) {
  const box = picture.getBoundingClientRect();
  const row = Math.floor((event.clientY - box.top - top) / tall);
  const column = Math.floor((event.clientX - box.left - left) / size);
  return row >= 0 && column >= 0 && row < view.rows && column < view.columns ? [row, column] : null;
}

/** Frames around the row and the column under the pointer. */
function cross(picture, found, { left, top, size, tall, width, height }) {
  const [row, column] = picture.querySelectorAll(".mark");
  row.toggleAttribute("hidden", !found);
  column.toggleAttribute("hidden", !found);
  if (!found) return;
  place(row, left, top + found[0] * tall, width, tall);
  place(column, left + found[1] * size, top, size, height);
}

function place(rectangle, x, y, width, height) {
  for (const [key, value] of Object.entries({ x, y, width, height })) rectangle.setAttribute(key, value);
}
