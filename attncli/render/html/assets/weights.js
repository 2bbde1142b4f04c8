// Weights out of the page: a layer's heads are one deflated block of numbers of twelve bits, unpacked when one of them
// is looked at.

/** Weights that stay unpacked: those of the blocks that were asked for last. */
const MOST_KEPT = 32e6;
const unpacked = new Map();
/** Characters of a line of the text beside a row. */
const LONGEST_LINE = 32;

const sizeOf = (block) => block.scales.length * block.rows * block.columns;

function numbersOfBlock(block) {
  const numbers = unpacked.get(block) ?? inflated(block.content).then((bytes) => joinedBits(bytes, sizeOf(block)));
  unpacked.delete(block);
  unpacked.set(block, numbers);
  let kept = 0;
  for (const each of [...unpacked.keys()].reverse()) {
    kept += sizeOf(each);
    if (kept > MOST_KEPT && each !== block) unpacked.delete(each);
  }
  return numbers;
}

/** Numbers of twelve bits: the upper eight of all, then the lower four, two to a byte. */
function joinedBits(bytes, size) {
  return Uint16Array.from({ length: size }, (_, at) => (bytes[at] << 4) | ((bytes[size + (at >> 1)] >> (4 * (at & 1))) & 15));
}

/** Unpack all of a stack at once where there is room for it: then its heads are drawn in one go. */
async function unpackAll(stack) {
  const size = stack.blocks.reduce((sum, block) => sum + sizeOf(block), 0);
  if (size <= MOST_KEPT) await Promise.all(stack.blocks.map(numbersOfBlock));
}

/** One head's weights. `numbers` are rows × columns; `value(row, column)` and `share` (of full scale) read them. */
class Pattern {
  constructor(block, index, numbers) {
    this.rows = block.rows;
    this.columns = block.columns;
    this.scale = block.scales[index];
    this.signed = block.signed;
    this.zero = block.signed ? 2048 : 0;
    this.steps = block.signed ? 2047 : 4095;
    const size = this.rows * this.columns;
    this.numbers = numbers.subarray(index * size, (index + 1) * size);
  }

  value(row, column) {
    return ((this.numbers[row * this.columns + column] - this.zero) / this.steps) * this.scale;
  }

  get colors() {
    return this.signed ? DIFFERENCES : WEIGHTS;
  }

  /** The colours of all numbers where `full` is the value of the end of the scale. */
  palette(full) {
    const gain = full > 0 ? this.scale / full : 0;
    return Array.from({ length: 4096 }, (_, number) => {
      const share = Math.max(-1, Math.min(1, ((number - this.zero) / this.steps) * gain));
      return this.colors[Math.round(this.signed ? (share + 1) * 127.5 : share * 255)];
    });
  }
}

/** The block that holds a head, and its place there; null where the page has no pattern of it. */
function placeOf(stack, head) {
  for (const block of stack.blocks) {
    const index = block.layer === head.layer ? block.heads.indexOf(head.head) : -1;
    if (index >= 0) return { block, index };
  }
  return null;
}

async function patternOf(stack, head) {
  const place = placeOf(stack, head);
  return place && new Pattern(place.block, place.index, await numbersOfBlock(place.block));
}

/** The largest weight of a stack, so that all its heads can share one scale. */
function fullScale(stack) {
  return Math.max(0, ...stack.blocks.flatMap((block) => block.scales));
}

/** Draw a pattern, a pixel a cell, or in at most `most` pixels a side, each the largest weight of its cells. */
function paint(canvas, pattern, full, { most = Infinity, hidden = () => false } = {}) {
  const step = Math.max(1, Math.ceil(Math.max(pattern.rows, pattern.columns) / most));
  const [rows, columns] = [Math.ceil(pattern.rows / step), Math.ceil(pattern.columns / step)];
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows);
  // A pixel at a time: four bytes of red, green, blue and opacity, in the order of a little-endian number.
  const pixels = new Uint32Array(image.data.buffer);
  const palette = Uint32Array.from(pattern.palette(full), ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at++) {
      const number = largest(pattern, row * step, column * step, step);
      if (number !== pattern.zero || !hidden(row * step + step - 1, column * step)) pixels[at] = palette[number];
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The number farthest from zero in a square of `step` cells a side. */
function largest(pattern, top, left, step) {
  if (step === 1) return pattern.numbers[top * pattern.columns + left];
  let found = pattern.zero;
  const [bottom, right] = [Math.min(top + step, pattern.rows), Math.min(left + step, pattern.columns)];
  for (let row = top; row < bottom; row++) {
    for (let at = row * pattern.columns + left; at < row * pattern.columns + right; at++) {
      if (Math.abs(pattern.numbers[at] - pattern.zero) > Math.abs(found - pattern.zero)) found = pattern.numbers[at];
    }
  }
  return found;
}

/** What stands at a row or a column; where the page knows no token of it, its number. */
function nameOf(axis, index) {
  return axis.texts[index] ?? `${index}`;
}

/** The position that a row or a column stands for, or the first and the last of several. */
function numberOf(axis, index) {
  if (axis.lines) return axis.lines[index] === null ? "" : `line ${axis.lines[index]}`;
  const [start, end] = placesOf(axis)(index);
  if (axis.unit === "line") return `lines ${start}–${end - 1}`;
  return end - start === 1 ? `${start}` : `${start}–${end - 1}`;
}

/** The same with the number of its line, where it is one. */
function shortName(axis, index) {
  return axis.lines?.[index] ? `${axis.lines[index]} ${nameOf(axis, index)}` : nameOf(axis, index);
}

/** A head's pattern as a view (see matrix.js). */
function patternView(stack, head, pattern) {
  const sides = { beside: stack.rows, above: stack.columns ?? stack.rows };
  const palette = pattern.palette(pattern.scale);
  const unit = pattern.scale > 1.5 ? pattern.scale : 1;
  const token = (axis, index) => element("span", {}, `${numberOf(axis, index)} `, element("span", { class: "token" }, nameOf(axis, index)));
  const view = {
    name: `pattern of head ${head.name}`,
    rows: pattern.rows,
    columns: pattern.columns,
    beside: (index) => shortName(sides.beside, index),
    above: (index) => shortName(sides.above, index),
    isDim: (side, index) => sides[side].special.includes(index),
    longest: sides.beside.lines ? LONGEST_LINE : undefined,
    paint: (canvas) => paint(canvas, pattern, pattern.scale, { hidden: unseen(stack) }),
    // Hundredths, as the terminal writes them; nothing of less than half a hundredth.
    number: (row, column) => {
      const hundredths = Math.round((100 * pattern.value(row, column)) / unit);
      return hundredths ? { text: `${hundredths}`, ink: inkOn(palette[pattern.numbers[row * pattern.columns + column]]) } : null;
    },
    words: (row, column) => [
      token(sides.beside, row), " → ", token(sides.above, column), element("br"),
      element("b", {}, weightText(pattern.value(row, column))),
    ],
  };
  if (data.counted && !stack.kind) view.counted = (width) => countedBy(view, (side) => positionsOf(sides[side]), width);
  return view;
}
