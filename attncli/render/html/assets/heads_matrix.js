// One head's pattern: cells in their colours, tokens on both sides, the weight under the pointer.

const LARGEST_CELL = 44;
const CELL_WITH_NUMBER = 26;
const [LEFT, TOP] = [132, 96];
const LABEL = 14;

/** `text` in at most `most` characters. */
function cut(text, most) {
  const characters = Array.from(text);
  return characters.length <= most ? text : `${characters.slice(0, most - 1).join("")}…`;
}

/** The pattern as an element `width` pixels wide at most. `point` is told the row and column under the pointer. */
function matrix(stack, head, pattern, width, point) {
  const size = cellSize(Math.max(width - LEFT - 24, 200), Math.max(pattern.rows, pattern.columns));
  const [right, bottom] = [pattern.columns * size, pattern.rows * size];
  const canvas = element("canvas", { class: size < 1 ? "fine" : "" });
  paint(canvas, pattern, pattern.scale, { hidden: unseen(stack) });
  Object.assign(canvas.style, { left: `${LEFT}px`, top: `${TOP}px`, width: `${right}px`, height: `${bottom}px` });
  const picture = drawing(stack, head, pattern, size);
  const box = element("div", { class: "matrix" }, canvas, picture);
  Object.assign(box.style, { width: `${LEFT + right + 24}px`, height: `${TOP + bottom + 4}px` });
  follow(picture, stack, pattern, size, point);
  return element("div", { class: "wide" }, box);
}

/** Whole pixels where cells are large enough to look uneven without. */
function cellSize(room, count) {
  const size = Math.min(LARGEST_CELL, room / count);
  return size < 4 ? size : Math.floor(size);
}

function drawing(stack, head, pattern, size) {
  const [right, bottom] = [pattern.columns * size, pattern.rows * size];
  const frame = svg("rect", { x: LEFT, y: TOP, width: right, height: bottom, class: "frame" });
  const marks = [svg("rect", { class: "mark row", hidden: true }), svg("rect", { class: "mark column", hidden: true })];
  const numbers = size >= CELL_WITH_NUMBER ? numbersOf(pattern, size) : [];
  return svg(
    "svg",
    { width: LEFT + right + 24, height: TOP + bottom + 4, role: "img", "aria-label": `pattern of head ${head.name}` },
    ...labels(stack.rows, pattern.rows, size, rowLabel),
    ...labels(stack.columns ?? stack.rows, pattern.columns, size, columnLabel),
    frame, ...numbers, ...marks,
  );
}

/** As many labels as there is room for. */
function labels(axis, count, size, draw) {
  const step = Math.max(1, Math.ceil(LABEL / size));
  const made = [];
  for (let index = 0; index < count; index += step) made.push(draw(axis, index, (index + 0.5) * size));
  return made;
}

function rowLabel(axis, index, at) {
  const text = cut(nameOf(axis, index), 15);
  return svg("text", { class: labelClass(axis, index), "text-anchor": "end", x: LEFT - 6, y: TOP + at + 4 }, text);
}

function columnLabel(axis, index, at) {
  const turned = `translate(${LEFT + at + 3} ${TOP - 6}) rotate(-60)`;
  return svg("text", { class: labelClass(axis, index), transform: turned }, cut(nameOf(axis, index), 12));
}

const labelClass = (axis, index) => (axis.special.includes(index) ? "token dim" : "token");

/** What stands at a row or a column; where the page knows no token of it, its number. */
function nameOf(axis, index) {
  return axis.texts[index] ?? `${index}`;
}

/** Hundredths, as the terminal writes them; nothing of less than half a hundredth. */
function numbersOf(pattern, size) {
  const palette = pattern.palette(pattern.scale);
  const unit = pattern.scale > 1.5 ? pattern.scale : 1;
  const made = [];
  for (let row = 0; row < pattern.rows; row++) {
    for (let column = 0; column < pattern.columns; column++) {
      const hundredths = Math.round((100 * pattern.value(row, column)) / unit);
      if (!hundredths) continue;
      const fill = inkOn(palette[pattern.bytes[row * pattern.columns + column]]);
      const [x, y] = [LEFT + (column + 0.5) * size, TOP + (row + 0.5) * size + 4];
      made.push(svg("text", { class: "number", "text-anchor": "middle", x, y, fill }, `${hundredths}`));
    }
  }
  return made;
}

function follow(picture, stack, pattern, size, point) {
  const place = (event) => {
    const box = picture.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top - TOP) / size);
    const column = Math.floor((event.clientX - box.left - LEFT) / size);
    return row >= 0 && column >= 0 && row < pattern.rows && column < pattern.columns ? [row, column] : null;
  };
  const leave = () => {
    hush();
    cross(picture, null);
    point(null, null);
  };
  picture.addEventListener("pointermove", (event) => {
    const found = place(event);
    if (!found) return leave();
    cross(picture, found, size, pattern);
    tell(event, ...weightWords(stack, pattern, ...found));
    return point(...found);
  });
  picture.addEventListener("pointerleave", leave);
}

/** `7 because → 4 on  0.412` */
function weightWords(stack, pattern, row, column) {
  const token = (axis, index) => element("span", {}, `${numberOf(axis, index)} `, element("span", { class: "token" }, nameOf(axis, index)));
  const weight = element("b", {}, weightText(pattern.value(row, column)));
  return [token(stack.rows, row), " → ", token(stack.columns ?? stack.rows, column), element("br"), weight];
}

function numberOf(axis, index) {
  const [start, end] = placesOf(axis)(index);
  return end - start === 1 ? `${start}` : `${start}–${end - 1}`;
}

/** Bands over the row and the column under the pointer. */
function cross(picture, found, size, pattern) {
  const [row, column] = picture.querySelectorAll(".mark");
  row.toggleAttribute("hidden", !found);
  column.toggleAttribute("hidden", !found);
  if (!found) return;
  place(row, LEFT, TOP + found[0] * size, pattern.columns * size, size);
  place(column, LEFT + found[1] * size, TOP, size, pattern.rows * size);
}

function place(rectangle, x, y, width, height) {
  for (const [key, value] of Object.entries({ x, y, width, height })) rectangle.setAttribute(key, value);
}
