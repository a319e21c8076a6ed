"use strict";
/* 16-bit images in base64 to canvases: one slice with window and level, or its error on a scale of colours. */
mcsr.images = (() => {
  /* Dark violet to light yellow, even in lightness (after magma of matplotlib, CC0): nine of its colours. */
  const STOPS = ["000004", "1d1147", "51127c", "822681", "b63679", "e65164", "fb8861", "fec287", "fcfdbf"].map((hex) => [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16)));
  const COLOURS = Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (STOPS.length - 1), low = Math.min(Math.floor(at), STOPS.length - 2), part = at - low;
    return STOPS[low].map((one, k) => Math.round(one + (STOPS[low + 1][k] - one) * part));
  });

  /* { shape: [S, H, W], slice(k): Float32Array } of what a script brought. */
  function unpacked({ shape, top, levels }) {
    const bytes = Uint8Array.from(atob(levels), (sign) => sign.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const size = shape[1] * shape[2];
    return { shape, slice: (k) => Float32Array.from({ length: size }, (_, i) => (view.getUint16(2 * (k * size + i), true) / 65535) * top) };
  }

  function canvas(width, height, paint) {
    const made = document.createElement("canvas");
    made.width = width;
    made.height = height;
    const context = made.getContext("2d");
    const image = context.createImageData(width, height);
    for (let i = 0; i < width * height; i += 1) {
      const [r, g, b] = paint(i);
      image.data.set([r, g, b, 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
    return made;
  }

  /* low and high: what is black and white. */
  function grey({ values, shape }, low, high) {
    return canvas(shape[2], shape[1], (i) => { const level = (255 * (values[i] - low)) / (high - low || 1); return [level, level, level]; });
  }

  function errors({ values, shape }, truth, most) {
    return canvas(shape[2], shape[1], (i) => COLOURS[Math.min(255, Math.round((255 * Math.abs(values[i] - truth.values[i])) / (most || 1)))]);
  }

  /* The value that all but 1 in 200 of the absolute differences are below. */
  function large(values, truth) {
    const found = values.map((value, i) => Math.abs(value - truth[i])).sort();
    return found[Math.floor(0.995 * (found.length - 1))];
  }

  function bar(target) {
    const context = target.getContext("2d");
    context.drawImage(canvas(256, 1, (i) => COLOURS[i]), 0, 0, target.width, target.height);
  }

  return { unpacked, grey, errors, large, bar };
})();
