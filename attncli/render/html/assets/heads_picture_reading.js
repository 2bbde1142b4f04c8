// What a position of a text reads of the pictures in it: its weights over each.

/** A map for each picture, as a figure with its picture beside it. */
async function pictureReadings(reading, pattern) {
  const pictures = await Promise.all((data.pictures ?? (data.picture ? [data.picture] : [])).map(unpackedPicture));
  const drawn = reading.maps.map((map) => {
    const picture = pictures[map.picture] ?? null;
    const [over, beside] = [weightsOver(map, picture, pattern), picture && shownPicture(map, picture)];
    return element("figure", {}, element("h3", {}, map.said), element("div", { class: "maps" }, ...[over, beside].filter(Boolean)), scaleLegend("0", scaleText(Math.max(0, ...map.weights))));
  });
  return drawn;
}

function mapSize({ weights, columns }) {
  const rows = weights.length / columns;
  const side = Math.max(1, Math.floor((0.7 * LARGEST_MAP) / Math.max(rows, columns)));
  return { rows, side, width: columns * side, height: rows * side };
}

function weightsOver(map, picture, pattern) {
  const { side, width, height } = mapSize(map);
  const canvas = element("canvas", { width, height, role: "img", "aria-label": map.said });
  const context = canvas.getContext("2d");
  if (picture) context.drawImage(picture.grey, 0, 0, width, height);
  const full = Math.max(0, ...map.weights);
  const cell = (number) => [Math.floor(number / map.columns), number % map.columns];
  map.weights.forEach((weight, number) => {
    if (weight === null) return;
    const share = full ? weight / full : 0;
    const [row, column] = cell(number);
    const amount = picture ? LEAST_TINT + (MOST_TINT - LEAST_TINT) * share : 1;
    context.fillStyle = `rgba(${pattern.colors[Math.round(255 * share)].join(", ")}, ${amount})`;
    context.fillRect(column * side, row * side, side, side);
  });
  canvas.addEventListener("pointermove", (event) => {
    const shown = (size, length) => Math.min(Math.floor((size * length) / side), Math.floor(length / side) - 1);
    const row = shown(event.offsetY / canvas.clientHeight, height);
    const column = shown(event.offsetX / canvas.clientWidth, width);
    const weight = map.weights[row * map.columns + column];
    tell(event, `${row},${column} `, element("b", {}, weight === null ? "" : weightText(weight)));
  });
  canvas.addEventListener("pointerleave", hush);
  return canvas;
}

function shownPicture(map, picture) {
  const { width, height } = mapSize(map);
  const canvas = element("canvas", { width, height, role: "img", "aria-label": "the picture, as far as its tokens cover it" });
  canvas.getContext("2d").drawImage(picture.color, 0, 0, width, height);
  return canvas;
}
