"use strict";
// What every page is made of. Whatever comes from outside becomes text nodes, never markup.

const data = JSON.parse(document.getElementById("data").textContent);

/** An element. Attributes that begin with "on" are listeners; `false` and `null` ones are left out. */
function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A number as the terminal shows it: two decimals, one from a hundred on, a dash where there is none. */
function figure(value) {
  if (value === null || value === undefined) return "·";
  const text = value.toFixed(Math.abs(value) >= 100 ? 1 : 2);
  return Number(text) === 0 ? text.replace("-", "") : text;
}

/** The end of a scale: two digits at least. */
function scaleText(value) {
  return value === 0 || value >= 0.1 ? figure(value) : value.toPrecision(2);
}

/** A weight to three decimals, more where it is small. */
function weightText(value) {
  return value === 0 || Math.abs(value) >= 0.001 ? value.toFixed(3) : value.toExponential(1);
}

function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// --- colours ---

/** Red, green and blue of evenly spaced entries of a table of hexadecimal colours, 256 of them. */
function spread(hex) {
  const entries = hex.match(/.{6}/g).map((entry) => [0, 2, 4].map((at) => parseInt(entry.slice(at, at + 2), 16)));
  return Array.from({ length: 256 }, (_, index) => {
    const place = (index / 255) * (entries.length - 1);
    const low = Math.floor(place);
    const high = Math.min(low + 1, entries.length - 1);
    return entries[low].map((value, channel) => Math.round(value + (entries[high][channel] - value) * (place - low)));
  });
}

/** Of weights (viridis), from nothing to full scale. */
const WEIGHTS = data.colors ? spread(data.colors) : [];
/** Of differences, from full scale below zero to full scale above, orange for more: ColorBrewer's PuOr, by Cynthia Brewer. */
const DIFFERENCES = spread("2d004b5427888073acb2abd2d8daebf7f7f7fee0b6fdb863e08214b358067f3b08");

const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

function gradient(table) {
  return `linear-gradient(to right, ${table.filter((_, index) => index % 15 === 0).map(css).join(", ")})`;
}

/** Black or white, whichever is easier to read on a colour (relative luminance, W3C's WCAG 2). */
function inkOn(color) {
  const [red, green, blue] = color.map((v) => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}

/** What the colours mean. */
function scaleLegend(low, high, note, table = WEIGHTS) {
  const colors = element("span", { class: "colors" });
  colors.style.background = gradient(table);
  return element("div", { class: "scale" }, low, colors, high, note ? element("span", {}, note) : null);
}

// --- the readout beside the pointer ---

const readout = element("div", { id: "readout", role: "status", hidden: true });

/** Show nodes or texts where a pointer is, kept within the window. */
function tell(event, ...content) {
  readout.replaceChildren(...content);
  readout.hidden = false;
  const { width, height } = readout.getBoundingClientRect();
  const left = event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
  const top = event.clientY + 16 + height > innerHeight ? event.clientY - 12 - height : event.clientY + 16;
  readout.style.left = `${Math.max(left, 2)}px`;
  readout.style.top = `${Math.max(top, 2)}px`;
}

function hush() {
  readout.hidden = true;
}

// --- the frame of the page ---

const darkness = matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is dark: as was chosen, else as the system is, or the notebook around it. */
function isDark() {
  const chosen = document.documentElement.style.colorScheme;
  return chosen ? chosen === "dark" : darkness.matches;
}

function themeSwitch() {
  const button = element("button", { class: "screen", id: "theme", type: "button", title: "light or dark" });
  const name = () => (button.textContent = isDark() ? "☀ light" : "☾ dark");
  name();
  darkness.addEventListener("change", name);
  button.addEventListener("click", () => {
    document.documentElement.style.colorScheme = isDark() ? "light" : "dark";
    name();
  });
  return button;
}

/** Title, facts and the switch above the parts; what made the page beneath them. */
function show(...parts) {
  const facts = data.facts.map((fact) => element("p", { class: "dim" }, fact));
  const top = element("header", { class: "top" }, element("div", {}, element("h1", {}, data.title), ...facts), themeSwitch());
  const notes = data.notes.length ? element("ul", {}, ...data.notes.map((note) => element("li", {}, note))) : null;
  const footer = element("footer", {}, notes, element("p", {}, data.made_by));
  document.body.append(top, element("main", {}, ...parts.filter(Boolean)), footer, readout);
}

/** A choice among names: `[value, text]` pairs. */
function choice(label, id, options, onchange) {
  const select = element("select", { id }, ...options.map(([value, text]) => element("option", { value }, text)));
  select.addEventListener("change", () => onchange(select.value));
  return element("label", {}, label, select);
}
