// Tables beside the heads: what the weights alone say, or what was read as the model wrote.

// After the other parts of the page, which are made later.
queueMicrotask(() => document.querySelector("main").append(element("section", { id: "tables" }, ...data.tables.map(tableOf))));

/** A title, headings, and rows of texts. `numbers`: columns of numbers; `head`: the one with names of heads. */
function tableOf({ title, header, numbers, head, rows }) {
  const opens = (name) => data.stacks.some((stack) => stack.heads.some((one) => one.name === name));
  const cell = (name, text, column) => {
    const content = name === "td" && column === head && opens(text) ? headButton(text) : text;
    return element(name, { class: numbers.includes(column) ? "number" : "" }, content);
  };
  const cells = (name, row) => element("tr", {}, ...row.map((text, column) => cell(name, text, column)));
  const body = element("tbody", {}, ...rows.map((row) => cells("td", row)));
  const table = element("table", {}, element("thead", {}, cells("th", header)), body);
  return element("div", { class: "wide" }, title ? element("h3", {}, title) : null, table);
}
