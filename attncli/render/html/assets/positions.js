// Round numbers beside rows and above columns that are too many to be named, or that stand for several.

/** Pixels from one number above the columns to the next. */
const NUMBER_WIDTH = 56;
/** What stands in place of the texts of a view. `positions` of a side: { starts, and where the last ends; several }. */
function countedBy(view, positions, width) {
  const shown = (side, count) => {
    const known = positions(side);
    return known && (known.several || (width - 120) / count < LABEL) ? known.starts : null;
  };
  const [beside, above] = [shown("beside", view.rows), shown("above", view.columns)];
  const rows = ({ left, top, tall }) => numbered(beside, tall, 2 * LABEL, (text, at) => svg("text", { class: "dim", "text-anchor": "end", x: left - 6, y: top + at + 4 }, text));
  const columns = ({ left, top, size }) => numbered(above, size, NUMBER_WIDTH, (text, at) => lying(text, left + at, top - 6));
  return { ...(beside && { left: `${beside.at(-1).toLocaleString("en")}`.length, rows }), ...(above && { top: 2, columns }) };
}

/** A short text above a column. */
function lying(text, x, y) {
  return svg("text", { class: "dim", "text-anchor": "middle", x, y }, text);
}

/** Where rows or columns begin in the whole text, and where the last one ends. */
function positionsOf(axis) {
  const count = axis.places?.length ?? axis.texts.length;
  if (!count) return null;
  const place = placesOf(axis);
  return { starts: [...Array.from({ length: count }, (_, index) => place(index)[0]), place(count - 1)[1]], several: Boolean(axis.unit) };
}

/** Round positions where they are, so many pixels apart at the least: within a cell, if it stands for several. */
function numbered(starts, size, apart, draw) {
  const count = starts.length - 1;
  const step = nice((apart / size) * ((starts[count] - starts[0]) / count));
  const made = [];
  for (let position = Math.ceil(starts[0] / step) * step, cell = 0, last = -apart; position < starts[count]; position += step) {
    while (starts[cell + 1] <= position) cell++;
    const wide = starts[cell + 1] - starts[cell];
    const at = size * (cell + (wide > 1 ? (position - starts[cell]) / wide : 0.5));
    if (at - last < apart) continue;
    made.push(draw(position.toLocaleString("en"), at));
    last = at;
  }
  return made;
}

/** The next of 1, 2 and 5 times a power of ten. */
function nice(least) {
  const ten = 10 ** Math.max(0, Math.floor(Math.log10(least)));
  return ten * [1, 2, 5, 10].find((digit) => digit * ten >= least);
}
