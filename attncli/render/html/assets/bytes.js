// Numbers out of the page: base64 letters, deflated.

async function inflated(letters) {
  const binary = atob(letters);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Numbers of two bytes, little-endian, as shares of `scale`: (rows × rows) of a square. */
async function square({ rows, scale, content }) {
  const bytes = await inflated(content);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { rows, value: (row, column) => (view.getInt16(2 * (row * rows + column), true) / 32767) * scale };
}
