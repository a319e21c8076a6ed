"use strict";
/* The first page: choosing a table, its ranking by one metric, filtering, sorting, copying. */
(async () => {
  const { node, options, state, load } = mcsr;
  const { fixed, short, times, interval } = mcsr.formats;
  const $ = (id) => document.getElementById(id);
  const FIELDS = ["dataset", "scale", "preset", "rules"];
  const all = await load("boards");
  let board = null;
  let metric = "";
  let table = null;
  let built = false;

  /* The table that has the field's new value and as many of the other fields' values as can be. */
  function nearest(field, value) {
    const like = (one) => FIELDS.filter((f) => String(one[f]) === $(f).value).length;
    return all.filter((one) => String(one[field]) === value).sort((a, b) => like(b) - like(a))[0];
  }

  function fill(about) {
    for (const field of FIELDS) {
      const values = [...new Set(all.map((one) => String(one[field])))];
      options($(field), values.map((value) => [value, field === "scale" ? `${value}x` : value]), String(about[field]));
      $(field).disabled = values.length < 2;
    }
    const twins = all.filter((one) => FIELDS.every((field) => one[field] === about[field]));
    if (twins.length > 1) { // other files or another split under the same names
      options($("rules"), twins.map((one) => [one.name, `${one.rules}, data ${one.fingerprint}, split ${one.split}`]), about.name);
      $("rules").disabled = false;
    }
  }

  async function show(about, wanted) {
    board = await load(`${about.name}/board`);
    const ids = Object.keys(board.metrics);
    metric = ids.includes(wanted) ? wanted : ids.includes(metric) ? metric : ids[0];
    fill(about);
    $("metric").replaceChildren(node("legend", {}, "Rank by"), ...ids.map((id) => node("label", { class: "check" },
      node("input", { type: "radio", name: "metric", value: id, checked: id === metric, onchange: () => rank(id) }), ` ${board.metrics[id].title}`)));
    $("to-viewer").hidden = !about.viewer;
    $("to-viewer").href = `viewer.html#${new URLSearchParams({ board: about.name })}`;
    facts(about);
    rank(metric);
  }

  function facts(about) {
    const parts = [`${about.patients} test patients, ${about.slices} slices`, `data ${about.fingerprint}, split ${about.split}`, `protocol ${about.protocol} (${about.protocol_hash})`];
    $("about").replaceChildren(node("a", { href: about.dataset_page }, about.dataset), about.real ? "" : " (simulated)", `: ${parts.join("; ")}.`, ...about.marks.map((text) => ` ${text}.`));
  }

  function rank(id) {
    metric = id;
    state.write({ board: board.name, metric });
    draw();
    mcsr.charts.draw(board, metric);
  }

  /* A row as the table sorts it; what is not there sorts last. */
  function flat(row) {
    const of = board.metrics[metric].rows[row.name];
    const own = { row, title: row.title, rank: of.rank, why: of.why, parameters: row.parameters, macs: row.macs, latency: row.latency, seeds: row.seeds.length, vouched: mcsr.formats.vouched(row), flags: row.flags.join(", "), reported: row.reported[metric] ? parseFloat(row.reported[metric].text) : null };
    Object.values(board.metrics).forEach((m, k) => { own[`m${k}`] = m.rows[row.name]?.mean ?? null; });
    own.words = [row.title, row.name, own.flags, own.vouched, row.contrasts].join(" ").toLowerCase();
    return own;
  }

  const last = (a, b, _a, _b, _column, direction) => {
    const none = (x) => x === null || x === undefined;
    if (none(a) || none(b)) return none(a) && none(b) ? 0 : (none(a) ? 1 : -1) * (direction === "asc" ? 1 : -1);
    return typeof a === "number" ? a - b : a < b ? -1 : a > b ? 1 : 0;
  };

  function head(text, title) {
    return { title: text, titleFormatter: () => node("button", { type: "button", class: "sort", title: title || `Sort by ${text}` }, text) };
  }

  function score(m) {
    return (cell) => {
      const one = m.rows[cell.getData().row.name];
      return one ? node("span", { class: "score" }, fixed(one.mean, m.decimals), node("small", {}, interval(one, m.decimals))) : "–";
    };
  }

  function method(cell) {
    const { row } = cell.getData();
    return node("span", {}, node("a", { href: row.page, title: row.about }, row.title),
      node("button", { type: "button", class: "quiet", "aria-label": `Details of ${row.title}`, onclick: () => mcsr.details.open(board, row) }, "Details"));
  }

  function columns() {
    const of = board.metrics[metric];
    const right = { hozAlign: "right", headerHozAlign: "right", sorter: last };
    const metrics = Object.entries(board.metrics).map(([id, m], k) => ({
      ...head(m.unit ? `${m.title}, ${m.unit}` : m.title, `Sort by ${m.title}: ${m.description}`), ...right, field: `m${k}`, minWidth: 110, formatter: score(m),
      headerSortStartingDir: m.up ? "desc" : "asc", cssClass: id === metric ? "chosen" : "",
    }));
    const paper = Object.values(board.rows).some((row) => row.reported[metric]);
    return [
      { ...head("Rank", `Rank by ${of.title}`), field: "rank", sorter: last, width: 66, hozAlign: "center", headerHozAlign: "center", frozen: true, formatter: (cell) => (cell.getValue() === null ? node("span", { class: "none", title: cell.getData().why || "no rank" }, "–") : node("b", {}, String(cell.getValue()))) },
      { ...head("Method"), field: "title", sorter: last, width: innerWidth < 600 ? 104 : 140, frozen: true, formatter: method },
      ...metrics,
      { ...head("Vouched for"), field: "vouched", sorter: last, width: 118, formatter: (cell) => node("span", {}, ...mcsr.details.badges(cell.getData().row)) },
      ...(paper ? [{ ...head("Reported", `What the paper printed of ${of.title}`), ...right, field: "reported", width: 106, formatter: (cell) => { const found = cell.getData().row.reported[metric]; return found ? node("span", { class: "score", title: found.where }, found.text, node("small", {}, found.where.split(";")[0])) : "–"; } }] : []),
      { ...head("Params", "Sort by the number of parameters"), ...right, field: "parameters", minWidth: 80, formatter: (cell) => short(cell.getValue()) },
      { ...head("MACs", "Sort by multiply-accumulates at HR 320"), ...right, field: "macs", minWidth: 76, formatter: (cell) => short(cell.getValue()) },
      { ...head("Time", "Sort by time of prediction, as a multiple of edsr's"), ...right, field: "latency", minWidth: 70, formatter: (cell) => times(cell.getValue()) },
      { ...head("Seeds"), ...right, field: "seeds", minWidth: 70, formatter: (cell) => (cell.getData().row.trains ? String(cell.getValue()) : "none") },
      { ...head("Flags"), field: "flags", sorter: last, minWidth: 122, formatter: (cell) => node("span", {}, ...cell.getData().row.flags.map((text) => node("span", { class: "badge flag" }, text))) },
    ];
  }

  function draw() {
    const order = Object.keys(board.metrics[metric].rows);
    const rows = board.rows.map(flat).sort((a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity) || order.indexOf(a.row.name) - order.indexOf(b.row.name));
    if (table) table.destroy();
    built = false;
    $("table").setAttribute("aria-label", `${board.title}, ranked by ${board.metrics[metric].title}`);
    table = new Tabulator("#table", { data: rows, columns: columns(), layout: "fitDataStretch", columnDefaults: { resizable: false, headerSortTristate: false, headerSort: true }, placeholder: "No method fits the filter", headerSortElement: (_column, way) => node("span", { class: "way", "aria-hidden": "true" }, way === "asc" ? "▲" : way === "desc" ? "▼" : "") });
    table.on("tableBuilt", () => {
      document.querySelector("#table .tabulator-tableholder").removeAttribute("tabindex"); // a grid has rows alone as children, and links to tab to
      built = true;
      filter();
    });
  }

  function filter() {
    if (!built) return; // it is called again when the table is there
    const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const only = $("only").checked;
    table.setFilter((data) => words.every((word) => data.words.includes(word)) && (!only || data.row.vouched.level === "verified"));
  }

  for (const field of FIELDS) $(field).addEventListener("change", () => show(all.find((one) => one.name === $(field).value) || nearest(field, $(field).value)));
  $("filter").addEventListener("input", filter);
  $("only").addEventListener("change", filter);
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      const rows = table.getData("active").map((data) => data.row);
      const text = mcsr.formats[button.dataset.copy](board, metric, rows);
      mcsr.copied = text;
      $("said").textContent = (await mcsr.copy(text)) ? `Copied ${rows.length} rows as ${button.textContent}.` : "The browser did not allow copying.";
    });
  }
  const from = () => { const { board: name, metric: wanted } = state.read(); return [all.find((one) => one.name === name) || all[0], wanted]; };
  window.addEventListener("hashchange", () => { if (location.hash.includes("board=")) show(...from()); });
  const anchor = location.hash;
  await show(...from());
  if (anchor && !anchor.includes("=")) document.querySelector(anchor)?.scrollIntoView();
})();
