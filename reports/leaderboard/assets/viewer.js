"use strict";
/* The slice viewer: two images, side by side or under a slider, with their errors on one scale, moved and zoomed together. */
(async () => {
  const { options, state, load, images } = mcsr;
  const $ = (id) => document.getElementById(id);
  const GIVEN = [["hr", "HR (the reference)"], ["lr", "LR"], ["aux", "auxiliary"]];
  const all = (await load("boards")).filter((one) => one.viewer);
  if (!all.length) {
    const first = (await load("boards"))[0];
    $("reason").textContent = (await load(`${first.name}/viewer`)).reason || "No table of this site has images.";
    $("reason").hidden = false;
    return;
  }
  $("viewer").hidden = false;
  const view = { zoom: 1, x: 0, y: 0 };
  let about = null, name = "", at = { case: 0, slice: 0 }, shown = {}, turn = 0;

  const choices = () => [...GIVEN, ...about.methods.map((one) => [one.key, one.title])];
  const title = (key) => choices().find(([one]) => one === key)[1];
  const image = async (key) => images.unpacked(await load(`${name}/v${at.case}-${key}`));
  const now = () => about.cases[at.case];

  async function open(wanted) {
    name = wanted.name;
    about = await load(`${name}/viewer`);
    options($("board"), all.map((one) => [one.name, one.title]), name);
    const last = about.methods.at(-1).key;
    const keep = (id, otherwise) => (choices().some(([key]) => key === $(id).value) ? $(id).value : otherwise);
    const left = keep("left", about.methods[0].key), right = keep("right", last);
    options($("left"), choices(), left);
    options($("right"), choices(), right);
    at = { case: Math.min(at.case, about.cases.length - 1), slice: at.slice };
    options($("case"), about.cases.map((one, k) => [String(k), one.volume === one.patient ? one.patient : `${one.patient} (${one.volume})`]), String(at.case));
    await patient(at.case, Math.floor(now().slices.length / 2));
  }

  async function patient(k, slice) {
    at = { case: k, slice: Math.min(slice, about.cases[k].slices.length - 1) };
    $("case").value = String(k);
    $("slice").max = String(now().slices.length - 1);
    await draw();
  }

  /* Everything that the panes show, as canvases of the images' own size. */
  async function draw() {
    const mine = (turn += 1);
    $("slice").value = String(at.slice);
    $("slice-says").textContent = String(now().slices[at.slice]);
    $("slice").setAttribute("aria-valuetext", `slice ${now().slices[at.slice]}`);
    const keys = { left: $("left").value, right: $("right").value };
    const [truth, left, right] = await Promise.all(["hr", keys.left, keys.right].map(image));
    if (mine !== turn) return;
    const one = (found) => ({ values: found.slice(at.slice), shape: found.shape });
    const parts = { truth: one(truth), left: one(left), right: one(right) };
    const compared = (side) => keys[side] !== "aux" && parts[side].shape[1] === parts.truth.shape[1];
    const most = Math.max(...["left", "right"].filter((side) => compared(side) && keys[side] !== "hr").map((side) => images.large(parts[side].values, parts.truth.values)), 1e-12 * now().white);
    for (const side of ["left", "right"]) {
      const white = keys[side] === "aux" ? now().auxiliary_white : now().white;
      const width = (white * $("window").value) / 100, middle = (white * $("level").value) / 100;
      shown[side] = images.grey(parts[side], middle - width / 2, middle + width / 2);
      shown[`error-${side}`] = compared(side) ? images.errors(parts[side], parts.truth, most) : null;
      say(side, keys[side], compared(side));
    }
    $("bar-says").textContent = `|image − HR|, 0 to ${((100 * most) / now().white).toPrecision(2)} % of HR's white; both error maps have this scale`;
    paint();
    state.write({ board: name, patient: now().patient, slice: now().slices[at.slice], left: keys.left, right: keys.right });
    document.body.dataset.drawn = `${name} ${at.case} ${at.slice} ${keys.left} ${keys.right}`;
  }

  function say(side, key, compared) {
    const method = about.methods.find((one) => one.key === key);
    const scores = method && now().scores[method.row][at.slice];
    const psnr = scores && scores["psnr@volume-max"];
    const text = typeof psnr === "number" ? `${psnr.toFixed(2)} dB in this slice` : "";
    $(`says-${side}`).replaceChildren(`${title(key)} `, mcsr.node("span", {}, text));
    $(`pane-${side}`).setAttribute("aria-label", `${side} image: ${title(key)}, patient ${now().patient}, slice ${now().slices[at.slice]}${text ? `, ${text}` : ""}`);
    $(`says-error-${side}`).textContent = compared ? `error of ${title(key)}` : `${title(key)}: no error, because it is not an HR image of the target`;
    $(`error-${side}`).setAttribute("aria-label", `Error map of ${title(key)}`);
  }

  function pane(id, source, part) {
    const target = $(id);
    const size = Math.max(64, Math.round(target.clientWidth * devicePixelRatio));
    if (target.width !== size) { target.width = size; target.height = size; }
    const context = target.getContext("2d");
    context.fillStyle = "#000";
    if (!part) context.fillRect(0, 0, size, size);
    if (!source) return;
    const [h, w] = now().shape;
    const scale = (size / Math.max(h, w)) * view.zoom;
    context.save();
    if (part) { context.beginPath(); context.rect(size * part, 0, size, size); context.clip(); context.fillRect(0, 0, size, size); }
    context.imageSmoothingEnabled = false;
    context.drawImage(source, size / 2 - (w / 2 + view.x * w) * scale, size / 2 - (h / 2 + view.y * h) * scale, w * scale, h * scale);
    context.restore();
    if (part) { context.fillStyle = "#fff"; context.fillRect(size * part - 1, 0, 2, size); }
  }

  function paint() {
    const slider = mode() === "slider", maps = $("errors").checked, part = $("divide").value / 100;
    $("panes").classList.toggle("slider", slider);
    $("divide").hidden = !slider;
    for (const id of ["fig-error-left", "fig-error-right", "scale"]) $(id).hidden = !maps;
    pane("pane-left", shown.left);
    pane("pane-right", shown.right);
    pane("error-left", shown["error-left"]);
    pane("error-right", shown["error-right"]);
    if (slider) {
      pane("pane-left", shown.right, part || 1e-9);
      if (maps) pane("error-left", shown["error-right"], part || 1e-9);
      $("says-left").replaceChildren(`${title($("left").value)} | ${title($("right").value)}`);
      $("says-error-left").textContent = `errors of ${title($("left").value)} | ${title($("right").value)}`;
    } else {
      say("left", $("left").value, shown["error-left"] !== null);
    }
    document.body.dataset.view = `${view.zoom.toFixed(3)} ${view.x.toFixed(3)} ${view.y.toFixed(3)}`;
  }

  const mode = () => document.querySelector("input[name=mode]:checked").value;
  const clip = (value, most) => Math.min(most, Math.max(-most, value));

  function move(dx, dy) {
    view.x = clip(view.x + dx / view.zoom, 0.5);
    view.y = clip(view.y + dy / view.zoom, 0.5);
    paint();
  }

  function zoom(by) {
    view.zoom = Math.min(16, Math.max(1, view.zoom * by));
    if (view.zoom === 1) view.x = view.y = 0;
    paint();
  }

  function reset() {
    Object.assign(view, { zoom: 1, x: 0, y: 0 });
    $("window").value = 100;
    $("level").value = 50;
    draw();
  }

  const step = (by) => patient(at.case, Math.max(0, at.slice + by));
  const next = (id) => { const select = $(id); select.selectedIndex = (select.selectedIndex + 1) % select.options.length; draw(); };
  const KEYS = {
    ArrowLeft: () => move(-0.05, 0), ArrowRight: () => move(0.05, 0), ArrowUp: () => move(0, -0.05), ArrowDown: () => move(0, 0.05),
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: reset, "[": () => step(-1), "]": () => step(1),
    p: () => patient((at.case + 1) % about.cases.length, at.slice), l: () => next("left"), r: () => next("right"),
  };

  for (const id of ["pane-left", "pane-right", "error-left", "error-right"]) {
    const target = $(id);
    let from = null;
    target.addEventListener("keydown", (event) => {
      const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (act && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); act(); }
    });
    target.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15); }, { passive: false });
    target.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; target.setPointerCapture(event.pointerId); });
    target.addEventListener("pointermove", (event) => {
      if (!from) return;
      const width = target.clientWidth;
      move((from[0] - event.clientX) / width, (from[1] - event.clientY) / width);
      from = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) target.addEventListener(end, () => { from = null; });
  }

  $("board").addEventListener("change", () => open(all.find((one) => one.name === $("board").value)));
  $("case").addEventListener("change", () => patient(Number($("case").value), at.slice));
  $("slice").addEventListener("input", () => patient(at.case, Number($("slice").value)));
  for (const id of ["left", "right"]) $(id).addEventListener("change", draw);
  for (const id of ["window", "level"]) $(id).addEventListener("input", draw);
  for (const id of ["errors", "divide"]) $(id).addEventListener("input", paint);
  for (const radio of document.querySelectorAll("input[name=mode]")) radio.addEventListener("change", paint);
  $("in").addEventListener("click", () => zoom(1.5));
  $("out").addEventListener("click", () => zoom(1 / 1.5));
  $("reset").addEventListener("click", reset);
  window.addEventListener("resize", paint);
  for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
  images.bar($("bar"));

  const wanted = state.read();
  await open(all.find((one) => one.name === wanted.board) || all[0]);
  const keys = choices().map(([key]) => key);
  if (keys.includes(wanted.left)) $("left").value = wanted.left;
  if (keys.includes(wanted.right)) $("right").value = wanted.right;
  const k = about.cases.findIndex((one) => one.patient === wanted.patient);
  if (k >= 0) await patient(k, Math.max(0, about.cases[k].slices.indexOf(Number(wanted.slice))));
  else await draw();
})();
