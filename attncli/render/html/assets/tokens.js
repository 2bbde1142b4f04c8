// The page of tokens: each text as it was cut; ids, raw forms and places under the pointer.

function chip(token, before) {
  const [shown, id, raw, word] = token;
  const goesOn = before && word !== null && before[3] === word;
  const kind = word === null ? " special" : word % 2 ? " odd" : "";
  const made = element("span", { class: `chip${kind}${goesOn ? " goes-on" : ""}`, tabindex: "0" }, element("span", { class: "token" }, shown), element("small", { class: "id" }, `${id}`));
  made.addEventListener("pointermove", (event) => tell(event, ...words(token)));
  made.addEventListener("pointerleave", hush);
  return made;
}

function words([shown, id, raw, , characters, bytes]) {
  const lines = [element("div", {}, element("b", { class: "token" }, shown), `  id ${id}`)];
  if (raw !== null && raw !== undefined) lines.push(element("div", {}, "raw ", element("span", { class: "token" }, raw)));
  if (characters) lines.push(element("div", { class: "dim" }, `characters ${characters.join("–")}, bytes ${bytes.join("–")}`));
  return lines;
}

function textSection(text) {
  const chips = text.tokens.map((token, index) => chip(token, text.tokens[index - 1]));
  const special = text.special ? ` (${text.special} special)` : "";
  const figures = text.stats.map(([name, value]) => `${name} ${Number.isInteger(value) ? value : figure(value)}`).join(" · ");
  return element(
    "section", { class: "text" },
    element("h2", {}, `${counted(text.count, "token")}${special}`, element("span", { class: "dim" }, ` ${text.model}`)),
    element("div", { class: "chips" }, ...chips), element("p", { class: "dim" }, figures),
  );
}

function idSwitch() {
  const box = element("input", { type: "checkbox", id: "ids" });
  box.checked = true;
  box.addEventListener("change", () => document.body.classList.toggle("without-ids", !box.checked));
  return element("div", { class: "controls" }, element("label", {}, box, "ids"));
}

const said = data.said ? element("div", { class: "wide" }, element("pre", { id: "said" }, data.said)) : null;
show(data.texts.length ? idSwitch() : null, ...data.texts.map(textSection), said);
