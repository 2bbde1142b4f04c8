// The text itself: a token's links drawn over it, and the tokens that it looks at shaded by how much.

/** Links fainter than this share of the strongest one are left out, and so are all beyond the first few. */
const FAINTEST = 0.02;
const MOST_LINKS = 48;
const NAMED = 5;
/** From so many tokens on, lines of text stand close. */
const LONG = 100;

class Links {
  /** The text of a pattern. Rows look at columns; where both are of one text there is one strip of tokens. */
  constructor(stack, pattern) {
    this.pattern = pattern;
    this.rows = stack.rows;
    this.columns = stack.columns ?? stack.rows;
    this.backwards = false;
    this.pinned = null;
    this.lines = svg("svg", { class: "links", "aria-hidden": "true" });
    this.said = element("p", { class: "said", "aria-live": "polite" });
    this.from = this.strip(this.rows, stack.columns ? "queries" : "tokens");
    this.to = stack.columns ? this.strip(this.columns, "keys") : this.from;
    this.text = element("div", { class: "text" }, this.lines, this.from, stack.columns ? this.to : null);
    this.element = element("section", { id: "text" }, this.heading(), this.text, this.said);
    this.clear();
  }

  heading() {
    const turn = element("input", { type: "checkbox", id: "backwards" });
    turn.addEventListener("change", () => {
      this.backwards = turn.checked;
      this.clear();
    });
    const label = element("label", { class: "screen dim" }, turn, " who looks at a token, instead of where it looks");
    return element("div", { class: "controls heading" }, element("h3", {}, "In the text"), label);
  }

  strip(axis, name) {
    const tokens = axis.texts.map((text, index) => this.token(axis, text, index));
    tokens[0]?.setAttribute("tabindex", "0");
    return element("div", { class: tokens.length > LONG ? "strip long" : "strip", role: "listbox", "aria-label": name }, ...tokens);
  }

  token(axis, text, index) {
    const special = axis.special.includes(index) ? " dim" : "";
    const made = element("span", { class: `token${special}`, role: "option", tabindex: "-1", "data-index": `${index}` }, text);
    made.addEventListener("pointerenter", () => this.pinned === null && this.draw(index));
    made.addEventListener("pointerleave", () => this.pinned === null && this.clear());
    made.addEventListener("focus", () => this.draw(index));
    made.addEventListener("click", () => this.pin(index));
    made.addEventListener("keydown", (event) => this.walk(event, made));
    return made;
  }

  /** Left and right go on to the next token, and no further: heads stay where they are. */
  walk(event, token) {
    const next = { ArrowLeft: token.previousElementSibling, ArrowRight: token.nextElementSibling }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (!next) return;
    token.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }

  pin(index) {
    const off = this.pinned === index;
    this.pinned = off ? null : index;
    if (off) this.clear();
    else this.draw(index);
  }

  clear() {
    this.pinned = null;
    this.lines.replaceChildren();
    for (const token of this.text.querySelectorAll(".token")) {
      token.style.background = "";
      token.removeAttribute("aria-selected");
    }
    this.said.textContent = `Point at a token to see ${this.backwards ? "who looks at it" : "where it looks"}; a click keeps it.`;
  }

  /** The weights of one token's links: of its row, or of its column where they are followed backwards. */
  weights(index) {
    const { pattern } = this;
    if (this.backwards) return Array.from({ length: pattern.rows }, (_, row) => pattern.value(row, index));
    return Array.from({ length: pattern.columns }, (_, column) => pattern.value(index, column));
  }

  draw(index) {
    const pinned = this.pinned;
    this.clear();
    this.pinned = pinned;
    const [source, target] = this.backwards ? [this.to, this.from] : [this.from, this.to];
    const chosen = source.children[index];
    if (!chosen || index >= (this.backwards ? this.pattern.columns : this.pattern.rows)) return;
    chosen.setAttribute("aria-selected", "true");
    const found = this.weights(index).map((weight, place) => ({ weight, size: Math.abs(weight), place }));
    const strongest = Math.max(...found.map((link) => link.size));
    const strong = found.filter((link) => link.size > 0 && link.size >= FAINTEST * strongest).sort((a, b) => b.size - a.size);
    for (const link of strong) shade(target.children[link.place], link.weight / strongest);
    this.lines.append(...strong.slice(0, MOST_LINKS).map((link) => this.line(chosen, target.children[link.place], link.size / strongest)));
    this.say(index, strong);
  }

  line(from, to, share) {
    const [a, b] = [this.middle(from), this.middle(to)];
    return svg("path", { d: curve(a, b, from === to), "stroke-width": 0.75 + 4 * share, "stroke-opacity": 0.15 + 0.75 * share });
  }

  middle(token) {
    const [box, frame] = [token.getBoundingClientRect(), this.text.getBoundingClientRect()];
    return { x: box.left - frame.left + box.width / 2, top: box.top - frame.top, bottom: box.bottom - frame.top };
  }

  say(index, strong) {
    const [source, target] = this.backwards ? [this.columns, this.rows] : [this.rows, this.columns];
    const token = (axis, at) => element("span", { class: "token" }, nameOf(axis, at));
    const parts = strong.slice(0, NAMED).flatMap((link, place) => [place ? ", " : "", token(target, link.place), ` ${weightText(link.weight)}`]);
    const verb = this.backwards ? " is looked at by " : " looks at ";
    this.said.replaceChildren(token(source, index), verb, ...(parts.length ? parts : ["nothing"]), strong.length > NAMED ? " …" : "");
  }
}

/** An arc above the tokens of one line, a bow between two lines, a small loop from a token to itself. */
function curve(a, b, same) {
  if (same) return `M ${a.x - 6} ${a.top} c -8 -20 20 -20 12 0`;
  if (Math.abs(a.top - b.top) < 4) {
    const height = Math.min(46, 10 + 0.16 * Math.abs(a.x - b.x));
    return `M ${a.x} ${a.top} C ${a.x} ${a.top - height}, ${b.x} ${b.top - height}, ${b.x} ${b.top}`;
  }
  const [from, to] = a.top < b.top ? [a.bottom, b.top] : [a.top, b.bottom];
  const half = (from + to) / 2;
  return `M ${a.x} ${from} C ${a.x} ${half}, ${b.x} ${half}, ${b.x} ${to}`;
}

function shade(token, share) {
  if (!token) return;
  const color = share < 0 ? "var(--mark)" : "var(--accent)";
  token.style.background = `color-mix(in srgb, ${color} ${Math.round(55 * Math.abs(share))}%, transparent)`;
}
