// The page of steps: the sentences of a walk, its keys with a bar for each number, and what wrote the score.

const COLUMNS = ["q·k", "score", "weight", "norm of v", "weight × norm of v"];

/** A bar as long as a value, on the scale of its column, and the number beside it. */
function barCell(number, largest) {
  if (number === null) return element("td", { class: "number dim" }, "hidden");
  const [value, text] = number;
  const bar = element("span", { class: `bar${value < 0 ? " negative" : ""}` });
  bar.style.width = `${largest ? (5 * Math.abs(value)) / largest : 0}rem`;
  return element("td", { class: "number" }, element("span", { class: "track" }, bar), element("span", { class: "amount" }, text));
}

function keyTable(walk) {
  const largest = COLUMNS.map((_, column) => Math.max(0, ...walk.keys.map((key) => Math.abs(key[3 + column]?.[0] ?? 0))));
  const rows = walk.keys.map(([index, text, special, ...values]) => element(
    "tr", {}, element("td", { class: "dim" }, `${index}`), element("td", { class: special ? "token dim" : "token" }, text),
    ...values.map((number, column) => barCell(number, largest[column])),
  ));
  if (walk.others) {
    const [count, weight] = walk.others;
    rows.push(element("tr", { class: "dim" }, element("td", {}, "…"), element("td", {}, `${counted(count, "other")}`), element("td"), element("td"), element("td", { class: "number" }, weight), element("td"), element("td")));
  }
  const headings = ["", "key", ...COLUMNS].map((heading, at) => element("th", { scope: "col", class: at > 1 ? "number" : null }, heading));
  return element("table", { class: "steps" }, element("thead", {}, element("tr", {}, ...headings)), element("tbody", {}, ...rows));
}

/** A ranking of what wrote the score; what sums up others has no bar. */
function sourceTable([title, rows]) {
  const largest = Math.max(0, ...rows.map(([, [value], quiet]) => (quiet ? 0 : Math.abs(value))));
  const cells = rows.map(([name, number, quiet]) => element(
    "tr", { class: quiet ? "dim" : null }, element("td", {}, name),
    quiet ? element("td", { class: "number" }, element("span", { class: "amount" }, number[1])) : barCell(number, largest),
  ));
  const headings = [element("th", { scope: "col" }, title), element("th", { scope: "col", class: "number" }, "score")];
  return element("table", { class: "steps" }, element("thead", {}, element("tr", {}, ...headings)), element("tbody", {}, ...cells));
}

function walkSection(walk) {
  const steps = walk.steps.map(([name, words]) => element("li", {}, element("b", {}, `${name}: `), words));
  return element("section", { class: "walk" }, element("h2", {}, walk.title), element("div", { class: "wide" }, keyTable(walk)), element("ol", {}, ...steps),
    element("div", { class: "sources" }, ...walk.sources.map(sourceTable)));
}

show(...data.walks.map(walkSection));
