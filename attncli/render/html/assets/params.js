// The page of parameters: nested bars as wide as what they stand for, the same in a table, and costs.

/** Of groups, in their own order; colours that colour-blind eyes can tell apart (Okabe & Ito 2008). */
const COLORS = ["#e69f00", "#56b4e9", "#0072b2", "#009e73", "#d55e00", "#f0e442", "#999999", "#cc79a7", "#b0a000", "#7f6fc8", "#8c564b", "#bbbbbb", "#5b4636"];
const colorOf = (group) => COLORS[data.groups.indexOf(group) % COLORS.length];
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const grouped = (number) => number.toLocaleString("en-US");

function percent(share) {
  return share > 0 && share < 0.0005 ? "<0.1 %" : `${(100 * share).toFixed(1)} %`;
}

const componentsOf = (part) => part.groups.flatMap(([, components]) => components);
const totalOf = (components) => sum(components.map(([, weights, biases]) => weights + biases));

// --- nested bars ---

/** Parts, the groups within each, the components within each group; `most` is the total of the largest model. */
function bars(model, most) {
  const rows = [[], [], []];
  for (const part of model.parts) {
    rows[0].push({ name: part.name, components: componentsOf(part) });
    for (const [group, components] of part.groups) {
      const where = model.parts.length > 1 ? `${part.name}, ` : "";
      rows[1].push({ name: group, said: `${where}${group}`, components, group });
      rows[2].push(...components.map((component) => ({ name: leafName(component, components), said: `${where}${component[0]}`, components: [component], group, leaf: true })));
    }
  }
  const shown = model.parts.length > 1 ? rows : rows.slice(1);
  const made = element("div", { class: "bars", role: "img", "aria-label": `parameters of ${model.name}` }, ...shown.map((row) => barRow(row, model)));
  made.style.width = `${(100 * model.total) / most}%`;
  return made;
}

/** `query` within attention; `norm`, which is a group of its own, is written above it already. */
function leafName([name], siblings) {
  return siblings.length === 1 && !name.includes(".") ? "" : name.slice(name.indexOf(".") + 1);
}

function barRow(row, model) {
  return element("div", { class: "bar-row" }, ...row.map((each) => bar(each, model)));
}

function bar(each, model) {
  const total = totalOf(each.components);
  const made = element("div", { class: `bar${each.leaf ? " leaf" : ""}`, "data-bar": each.said ?? each.name }, element("span", {}, each.name));
  made.style.flexGrow = total;
  if (each.group) paintBar(made, colorOf(each.group), each.leaf);
  made.addEventListener("pointermove", (event) => tell(event, ...barWords(each, total, model)));
  made.addEventListener("pointerleave", hush);
  return made;
}

/** Components are paler than their group. */
function paintBar(made, color, isLeaf) {
  const parts = color.match(/[0-9a-f]{2}/g).map((part) => parseInt(part, 16));
  const shown = isLeaf ? parts.map((part) => Math.round(part + (255 - part) * 0.35)) : parts;
  made.style.background = css(shown);
  made.style.color = inkOn(shown);
}

function barWords(each, total, model) {
  const biases = sum(each.components.map(([, , count]) => count));
  const split = biases ? [element("div", { class: "dim" }, `${grouped(total - biases)} weights, ${grouped(biases)} biases`)] : [];
  return [element("div", {}, each.said ?? each.name), element("b", {}, grouped(total)), `  ${percent(total / (model.total || 1))}`, ...split];
}

// --- tables ---

function number(text, name = "td") {
  return element(name, { class: "number" }, text);
}

function row(className, name, numbers) {
  return element("tr", { class: className }, element("td", {}, name), ...numbers.map((text) => number(text)));
}

function componentTable(model) {
  const biased = model.parts.some((part) => componentsOf(part).some(([, , biases]) => biases));
  const cells = (components) => {
    const [weights, biases] = [1, 2].map((at) => sum(components.map((component) => component[at])));
    const counts = biased ? [weights, biases, weights + biases] : [weights + biases];
    return [...counts.map((count) => (count ? grouped(count) : "·")), percent((weights + biases) / (model.total || 1))];
  };
  const rows = model.parts.flatMap((part) => [row("part", part.name, cells(componentsOf(part))), ...part.groups.flatMap((group) => groupRows(group, cells))]);
  const names = [...(biased ? ["weights", "biases"] : []), "parameters", "share"];
  return table(["component", ...names], rows, "components");
}

function groupRows([name, components], cells) {
  const tile = element("span", { class: "tile swatch" }, "\u00a0");
  tile.style.background = colorOf(name);
  const head = element("span", {}, tile, ` ${components.length === 1 ? components[0][0] : name}`);
  const own = components.length === 1 ? [] : components.map((component) => row("leaf", component[0].slice(component[0].indexOf(".") + 1), cells([component])));
  return [row("group", head, cells(components)), ...own];
}

function table(names, rows, id) {
  const heads = names.map((name, index) => (index ? number(name, "th") : element("th", {}, name)));
  const made = element("table", { id }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
  return element("div", { class: "wide" }, made);
}

function differenceTable() {
  const names = data.models.map((model) => model.name);
  const parts = new Set(data.differences.map(([part]) => part)).size > 1;
  const rows = data.differences.map(([part, component, counts]) => {
    const cells = counts.map((count) => (count ? grouped(count) : "·"));
    return row("", parts ? `${part}: ${component}` : component, counts.length === 2 ? [...cells, signed(counts[1] - counts[0])] : cells);
  });
  const totals = data.models.map((model) => model.total);
  const last = totals.length === 2 ? [signed(totals[1] - totals[0])] : [];
  // What belongs to the row above it is indented.
  const costs = data.costs.map(([label, texts]) => row(label.startsWith(" ") ? "sub" : "", label.trim(), last.length ? [...texts, ""] : texts));
  rows.unshift(row("part", "total", [...totals.map(grouped), ...last]), ...costs);
  return table(["component", ...names, ...(names.length === 2 ? ["difference"] : [])], rows, "differences");
}

const signed = (count) => (count ? `${count > 0 ? "+" : "−"}${grouped(Math.abs(count))}` : "same");

function layerTable(model) {
  const rows = model.layers.flatMap(([where, which, each, together], index) => {
    const isNew = index === 0 || model.layers[index - 1][0] !== where;
    return [...(isNew ? [row("part", where, ["", ""])] : []), row("sub", which, [grouped(each), grouped(together)])];
  });
  return rows.length ? [element("h3", {}, "Layers"), table(["layers", "each", "together"], rows, "layers")] : [];
}

// --- modules ---

function tree(nodes) {
  return element("ul", { class: "tree" }, ...nodes.map(branch));
}

function branch(node) {
  const shape = node.shape ? ` ${node.shape.join(" × ") || "1"}` : "";
  const each = node.copies > 1 ? ", each" : "";
  const line = [element("span", { class: "mono" }, node.name), each, " ", element("b", {}, grouped(node.parameters)), element("span", { class: "dim" }, `${shape} ${node.component ?? ""}`)];
  if (!node.children.length) return element("li", {}, ...line);
  return element("li", {}, element("details", {}, element("summary", {}, ...line), tree(node.children)));
}

// --- the page ---

function detailsOf(facts) {
  const rows = facts.map(([label, text]) => element("tr", {}, element("th", {}, label), element("td", {}, text)));
  return rows.length ? element("table", { class: "details" }, element("tbody", {}, ...rows)) : null;
}

function modelSection(model, most, alone) {
  const facts = model.facts.map((fact, index) => element("p", { class: index ? "total" : "dim" }, fact));
  const modules = model.tree.length ? [element("h3", {}, "Modules"), tree(model.tree)] : [];
  return element(
    "section", { class: "model" }, alone ? null : element("h2", {}, model.name), ...facts, detailsOf(model.answer), bars(model, most),
    ...(alone ? [componentTable(model)] : []), ...layerTable(model), ...modules, detailsOf(model.details),
  );
}

function presetTable() {
  const rows = data.presets.map((cells) => element("tr", {}, ...cells.map((cell, index) => element("td", { class: index ? "" : "mono" }, cell))));
  const heads = ["preset", "model", "published", "source"].map((name) => element("th", {}, name));
  return element("div", { class: "wide" }, element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
}

const largest = Math.max(1, ...data.models.map((model) => model.total));
const several = data.models.length > 1;
show(
  ...data.models.map((model) => modelSection(model, largest, !several)),
  several ? element("section", {}, element("h3", {}, "Side by side"), differenceTable()) : null,
  data.presets.length ? presetTable() : null,
);
