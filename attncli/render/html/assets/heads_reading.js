// What one position reads: the text shaded by its weights, and the keys that it reads most.

/** Keys that are written out; more of them are a strip of cells. */
const MOST_WRITTEN = 600;

async function readingOf(stack, width) {
  const { reading } = stack;
  if (!reading) return [];
  if (!reading.block) return [element("h2", {}, reading.said)];
  const pattern = new Pattern(reading.block, 0, await numbersOfBlock(reading.block));
  const axis = stack.columns ?? stack.rows;
  const texts = stack.patches ? [] : axis.texts.length <= MOST_WRITTEN ? [shadedText(reading, pattern, axis)] : [textStrip(stack, pattern, width)];
  const pictures = reading.maps ? await pictureReadings(reading, pattern) : [];
  return [element("h2", {}, reading.said), ...pictures, ...texts, scaleLegend("0", scaleText(pattern.scale)), keyTable(reading, axis)];
}

/** The text, each token on the colour of its weight; what the position can't see is dim, and it itself has a frame. */
function shadedText(reading, pattern, axis) {
  const colors = pattern.palette(pattern.scale);
  const unseen = new Set(reading.unseen);
  const tokens = axis.texts.flatMap((text, index) => {
    const token = element("span", { class: unseen.has(index) ? "token dim" : "token" }, text);
    if (!unseen.has(index)) paintBehind(token, colors[pattern.numbers[index]]);
    if (reading.own.includes(index)) token.classList.add("own");
    const said = () => [`${numberOf(axis, index)} ${text} `, element("b", {}, weightText(pattern.value(0, index)))];
    token.addEventListener("pointermove", (event) => tell(event, ...said()));
    token.addEventListener("pointerleave", hush);
    return [token, " "];
  });
  return element("p", { class: "shaded" }, ...tokens);
}

function paintBehind(made, color) {
  made.style.background = css(color);
  made.style.color = inkOn(color);
}

/** A long text as one row of cells. */
function textStrip(stack, pattern, width) {
  const view = patternView({ ...stack, rows: { texts: [""], special: [], places: null }, columns: stack.columns ?? stack.rows }, { name: "" }, pattern);
  const most = Math.max(200, Math.floor(width / 2));
  const paintAll = (canvas) => paint(canvas, pattern, pattern.scale, { most });
  const counted = view.counted && ((room) => ({ left: 0, top: view.counted(room).top, columns: view.counted(room).columns }));
  return element("figure", {}, matrix({ ...view, name: "the whole text", paint: paintAll, number: () => null, counted }, width, () => {}));
}

function keyTable({ top }, axis) {
  const longest = Math.max(...top.map((key) => key[2]), 0);
  const even = top.some((key) => key[3] !== null);
  const heads = new Set(stackNow().heads.map((head) => head.name)).size > 1;
  const number = (text, name = "td") => element(name, { class: "number" }, text);
  const rows = top.map(([position, place, weight, uniform, head, headWeight]) => {
    const bar = element("span", { class: "bar" });
    bar.style.width = `${longest ? (10 * weight) / longest : 0}rem`;
    const by = heads ? [element("td", {}, headButton(head), ` ${weightText(headWeight)}`)] : [];
    const cells = [number(position === null ? "" : position.toLocaleString("en")), element("td", { class: "token key" }, axis.texts[place]), number(weightText(weight)), element("td", { class: "bars" }, bar)];
    return element("tr", {}, ...cells, ...(even ? [number(weightText(uniform ?? 0))] : []), ...by);
  });
  const columns = [number(axis.lines ? "line" : "", "th"), element("th"), number("weight", "th"), element("th"), ...(even ? [number("uniform", "th")] : []), ...(heads ? [element("th", {}, "most by head")] : [])];
  return element("div", { class: "wide" }, element("table", { id: "keys" }, element("thead", {}, element("tr", {}, ...columns)), element("tbody", {}, ...rows)));
}
