// Where one position looks in a sound: a curve of weights over time.

/** Pixels of the curve, of the moments beneath it, and between two of them. */
const [CURVE, MOMENTS, BETWEEN] = [110, 20, 70];

class Timeline {
  /** A pattern whose columns are moments. Rows may be moments of the same sound, or words that were heard in it. */
  constructor(stack, pattern, width) {
    this.pattern = pattern;
    [this.rows, this.columns] = [stack.rows, stack.columns ?? stack.rows];
    this.words = Boolean(stack.columns);
    this.width = width - 16;
    this.chosen = this.words ? Math.max(this.rows.texts.findIndex((_, row) => !this.rows.special.includes(row)), 0) : 0;
    this.area = svg("path", { class: "area" });
    this.hand = svg("line", { class: "hand", y1: 0, y2: CURVE });
    this.said = element("p", { class: "said", "aria-live": "polite" });
    const can = this.words || pattern.rows === 1 ? "" : "A click on a moment, or an arrow, makes it the one that looks.";
    const heading = element("div", { class: "controls heading" }, element("h3", {}, "In the sound"), element("span", { class: "dim screen keys" }, can));
    this.element = element("section", { id: "sound" }, heading, this.strip(), this.drawing(), this.said);
    this.draw(this.chosen);
  }

  strip() {
    if (!this.words) return null;
    const tokens = Array.from({ length: this.pattern.rows }, (_, row) => this.token(row));
    tokens[0].setAttribute("tabindex", "0");
    return element("div", { class: "strip", role: "listbox", "aria-label": "queries" }, ...tokens);
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

  drawing() {
    const { width } = this;
    const step = roundStep((BETWEEN * this.pattern.columns) / width);
    const marks = [];
    for (let column = 0; column < this.pattern.columns; column += step) {
      const x = this.place(column);
      marks.push(svg("line", { class: "base", x1: x, x2: x, y1: CURVE, y2: CURVE + MOMENTS - 4 }));
      marks.push(svg("text", { class: "dim", x: x + 4, y: CURVE + 15 }, nameOf(this.columns, column)));
    }
    const base = svg("line", { class: "base", x2: width, y1: CURVE, y2: CURVE });
    const made = svg("svg", { class: "timeline", width, height: CURVE + MOMENTS, role: "img", "aria-label": "weights over time" }, this.area, this.hand, base, ...marks);
    const columnOf = (event) => Math.min(Math.max(Math.floor(((event.clientX - made.getBoundingClientRect().left) / width) * this.pattern.columns), 0), this.pattern.columns - 1);
    made.addEventListener("pointermove", (event) => this.tell(event, columnOf(event)));
    made.addEventListener("pointerleave", hush);
    if (!this.words && this.pattern.rows > 1) {
      made.setAttribute("tabindex", "0");
      made.addEventListener("click", (event) => this.pin(columnOf(event)));
      made.addEventListener("keydown", (event) => this.step(event));
    }
    return made;
  }

  /** Left and right go on to the next moment, and no further: heads stay where they are. */
  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    this.pin(Math.min(Math.max(this.chosen + by, 0), this.pattern.rows - 1));
  }

  place(column) {
    return (column * this.width) / this.pattern.columns;
  }

  pin(row) {
    this.chosen = row;
    this.draw(row);
  }

  clear() {
    this.draw(this.chosen);
  }

  /** Show where one position looks: of a row of the pattern. */
  draw(row) {
    this.shown = row;
    const weights = Array.from({ length: this.pattern.columns }, (_, column) => this.pattern.value(row, column));
    const full = Math.max(...weights.map(Math.abs)) || 1;
    const steps = weights.map((weight, column) => `V ${CURVE - ((CURVE - 4) * Math.abs(weight)) / full} H ${this.place(column + 1)}`);
    this.area.setAttribute("d", `M 0 ${CURVE} ${steps.join(" ")} V ${CURVE} Z`);
    this.hand.toggleAttribute("hidden", this.words || this.pattern.rows === 1);
    for (const end of ["x1", "x2"]) this.hand.setAttribute(end, this.place(row + 0.5));
    for (const token of this.element.querySelectorAll(".token[data-row]")) token.setAttribute("aria-selected", `${token.dataset.row === `${row}`}`);
    this.say(row, weights);
  }

  say(row, weights) {
    const found = weights.map((weight, column) => ({ weight, column })).filter(({ weight }) => weight !== 0);
    found.sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
    const parts = found.slice(0, NAMED).flatMap(({ weight, column }, place) => [place ? ", " : "", element("span", { class: "token" }, nameOf(this.columns, column)), ` ${weightText(weight)}`]);
    this.said.replaceChildren(element("span", { class: "token" }, nameOf(this.rows, row)), " looks at ", ...(parts.length ? parts : ["nothing"]), found.length > NAMED ? " …" : "");
  }

  tell(event, column) {
    const name = (axis, index) => element("span", { class: "token" }, nameOf(axis, index));
    tell(event, name(this.rows, this.shown), " → ", name(this.columns, column), element("br"), element("b", {}, weightText(this.pattern.value(this.shown, column))));
  }
}
