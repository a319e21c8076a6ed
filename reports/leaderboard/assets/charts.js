"use strict";
/* Four charts of one table and one metric. Data go in as data: no name of a method is ever part of an expression. */
mcsr.charts = (() => {
  const { colour, options } = mcsr;
  const $ = (id) => document.getElementById(id);
  const COSTS = { macs: "MACs of one slice, HR 320", parameters: "parameters", latency: "time of prediction, as a multiple of edsr's" };
  let last = null;

  const kind = (row) => (row.trains ? (row.contrasts === "multi" ? "with auxiliary" : "target alone") : "not trained");
  const named = (m) => (m.unit ? `${m.title} (${m.unit})` : m.title);
  const KINDS = ["with auxiliary", "target alone", "not trained"];

  function config() {
    const ink = colour("ink"), soft = colour("soft"), line = colour("line");
    return {
      aria: false, background: null, font: "system-ui, sans-serif", view: { stroke: null },
      axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, labelLimit: 150, titleFontWeight: 500, labelFontSize: 12, titleFontSize: 12 },
      legend: { labelColor: ink, titleColor: ink, orient: "top", title: null, labelFontSize: 12, columns: innerWidth < 600 ? 2 : 3 },
      text: { color: ink }, rule: { color: soft }, line: { color: soft },
    };
  }

  const kinds = () => ({ field: "kind", type: "nominal", scale: { domain: KINDS, range: ["c1", "c2", "c3"].map(colour) } });

  /* A chart; layers without data are left out, and a chart without any is empty. */
  async function embed(id, label, { layer, ...spec }) {
    const place = $(id);
    const filled = layer.filter((one) => (one.data || spec.data).values.length > 0);
    if (!filled.length) {
      place.replaceChildren();
      return;
    }
    await vegaEmbed(place, { $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", autosize: { type: "fit-x", contains: "padding" }, config: config(), ...spec, layer: filled }, { actions: false, renderer: "svg" });
    place.querySelector("svg").setAttribute("aria-hidden", "true"); // the label says what it shows
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", label);
  }

  /* Which points no other one beats: none costs at most as much and is as good, and better in one of the two. */
  function front(points, up) {
    const good = (p) => (up ? p.y : -p.y);
    return points.filter((p) => !points.some((q) => q.x <= p.x && good(q) >= good(p) && (q.x < p.x || good(q) > good(p))));
  }

  function cost(board, m) {
    const by = $("cost").value;
    const points = [], missing = [];
    for (const row of board.rows) {
      const one = m.rows[row.name];
      if (row[by] > 0 && one.mean !== null) points.push({ method: row.title, kind: kind(row), x: row[by], y: one.mean, low: one.low ?? one.mean, high: one.high ?? one.mean });
      else missing.push(row.title);
    }
    $("under-cost").textContent = `Line: the Pareto front. Bars: 95 % intervals.${missing.length ? ` Without this cost: ${missing.join(", ")}.` : ""}`;
    const x = { field: "x", type: "quantitative", scale: { type: "log", nice: true }, axis: { title: COSTS[by], format: "~s", tickCount: 5, grid: false } };
    const y = { field: "y", type: "quantitative", scale: { zero: false }, axis: { title: named(m) } };
    const logs = points.map((p) => Math.log(p.x)), low = Math.min(...logs), span = Math.max(...logs) - low;
    points.forEach((p, k) => { p.last = span > 0 && logs[k] - low > 0.66 * span; }); // a name to the right would leave the chart
    const ys = points.map((p) => p.y), height = Math.max(...ys) - Math.min(...ys);
    const near = (p, q) => Math.abs(Math.log(p.x / q.x)) < 0.2 * span && Math.abs(p.y - q.y) < 0.08 * height;
    points.forEach((p) => { p.below = points.some((q) => near(p, q) && (p.y < q.y || (p.y === q.y && p.x > q.x))); }); // two names would overlap
    const label = ([last, below]) => ({
      transform: [{ filter: `datum.last === ${last} && datum.below === ${below}` }],
      mark: { type: "text", align: last ? "right" : "left", dx: last ? -8 : 8, dy: below ? 11 : -7, fontSize: 11, limit: 140 }, encoding: { x, y, text: { field: "method" } },
    });
    const sides = [[false, false], [true, false], [false, true], [true, true]];
    const edge = front(points, m.up).sort((a, b) => a.x - b.x);
    return embed("chart-cost", `${named(m)} against ${COSTS[by]}; on the Pareto front: ${edge.map((p) => p.method).join(", ")}`, {
      height: 260, data: { values: points },
      layer: [
        { data: { values: edge }, mark: { type: "line", interpolate: "step-after", strokeDash: [4, 3] }, encoding: { x, y } },
        { mark: { type: "rule", opacity: 0.6 }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" } } },
        { mark: { type: "point", filled: true, size: 90, opacity: 1 }, encoding: { x, y, color: kinds(), shape: { field: "kind", type: "nominal", scale: { domain: KINDS } }, tooltip: [{ field: "method" }, { field: "y", title: m.title, format: `.${m.decimals}f` }, { field: "x", title: by, format: ".3s" }] } },
        ...sides.filter(([last, below]) => points.some((p) => p.last === last && p.below === below)).map(label), // Vega warns of an empty one
      ],
    });
  }

  const ordered = (board, m) => Object.keys(m.rows).map((name) => board.rows.find((row) => row.name === name)).filter((row) => m.rows[row.name].mean !== null);
  const names = (titles) => ({ field: "method", type: "nominal", sort: titles, axis: { title: null } });

  function patients(board, m) {
    const rows = ordered(board, m);
    const values = rows.flatMap((row) => m.rows[row.name].patients.map((value, k) => ({ method: row.title, kind: kind(row), patient: m.patients[k], value }))).filter((one) => one.value !== null);
    const x = { field: "value", type: "quantitative", scale: { zero: false }, axis: { title: named(m) } };
    const y = names(rows.map((row) => row.title));
    return embed("chart-patients", `${named(m)} of each of ${m.patients.length} test patients, by method`, {
      height: 26 * rows.length, data: { values },
      layer: [
        { mark: { type: "circle", size: 42, opacity: 0.55 }, encoding: { x, y, color: kinds(), tooltip: [{ field: "method" }, { field: "patient" }, { field: "value", title: m.title, format: `.${m.decimals}f` }] } },
        { mark: { type: "tick", thickness: 2, size: 20, color: colour("ink") }, encoding: { x: { ...x, aggregate: "median" }, y } },
      ],
    });
  }

  function pairs(board, m) {
    const chosen = board.rows.findIndex((row) => row.name === $("reference").value);
    const base = board.rows[chosen];
    const of = m.rows[base.name];
    const values = [], means = [];
    const rows = ordered(board, m).filter((row) => row !== base);
    for (const row of rows) {
      m.rows[row.name].patients.forEach((value, k) => { if (value !== null && of.patients[k] !== null) values.push({ method: row.title, kind: kind(row), patient: m.patients[k], value: value - of.patients[k] }); });
      const own = board.rows.indexOf(row);
      const pair = m.pairs.find(([a, b]) => (a === own && b === chosen) || (a === chosen && b === own));
      if (pair && pair[3] !== null) means.push(pair[0] === own ? { method: row.title, mean: pair[2], low: pair[3], high: pair[4], p: pair[5] } : { method: row.title, mean: -pair[2], low: -pair[4], high: -pair[3], p: pair[5] });
    }
    $("under-pairs").textContent = `Method less ${base.title}, patient by patient. Bar: mean and 95 % interval, patients and seeds random${means.length < rows.length ? "; none for methods without a test (fewer than 3 seeds or 6 patients)" : ""}. ${m.up ? "Right" : "Left"} of zero: the method is better.`;
    const y = names(rows.map((row) => row.title));
    const x = (field) => ({ field, type: "quantitative", axis: { title: `difference of ${named(m)}` } });
    const tip = [{ field: "method" }, { field: "mean", format: `+.${m.decimals}f` }, { field: "p", title: "p (Holm)", format: ".2g" }];
    return embed("chart-pairs", `Differences of ${named(m)} from ${base.title}, patient by patient`, {
      height: 26 * rows.length,
      layer: rows.length === 0 ? [] : [
        { data: { values: [{ zero: 0 }] }, mark: { type: "rule", strokeDash: [3, 3] }, encoding: { x: x("zero") } },
        { data: { values }, mark: { type: "circle", size: 38, opacity: 0.45 }, encoding: { x: x("value"), y, color: kinds(), tooltip: [{ field: "method" }, { field: "patient" }, { field: "value", format: `+.${m.decimals}f` }] } },
        { data: { values: means }, mark: { type: "rule", strokeWidth: 2.5, color: colour("ink") }, encoding: { x: x("low"), x2: { field: "high" }, y, tooltip: tip } },
        { data: { values: means }, mark: { type: "tick", thickness: 3, size: 18, color: colour("ink") }, encoding: { x: x("mean"), y, tooltip: tip } },
      ],
    });
  }

  function ranks(board, m) {
    const rows = ordered(board, m);
    const values = [];
    for (const row of rows) {
      const counts = new Map();
      for (const rank of m.rows[row.name].ranks) if (rank !== null) counts.set(Math.round(rank), (counts.get(Math.round(rank)) || 0) + 1);
      for (const [rank, count] of counts) values.push({ method: row.title, rank, count });
    }
    const x = { field: "rank", type: "ordinal", axis: { title: "rank", labelAngle: 0 }, scale: { domain: rows.map((_, k) => k + 1) } };
    const y = names(rows.map((row) => row.title));
    const dark = m.patients.length / 2;
    return embed("chart-ranks", `How many of ${m.patients.length} patients give a method which rank by ${m.title}`, {
      height: 26 * rows.length, data: { values },
      layer: [
        { mark: { type: "rect", cornerRadius: 2 }, encoding: { x, y, color: { field: "count", type: "quantitative", legend: null, scale: { domain: [0, m.patients.length], range: [colour("wash"), colour("c1")] } }, tooltip: [{ field: "method" }, { field: "rank" }, { field: "count", title: "patients" }] } },
        { mark: { type: "text", fontSize: 11 }, encoding: { x, y, text: { field: "count" }, color: { condition: { test: { field: "count", gt: dark }, value: colour("paper") }, value: colour("ink") } } },
      ],
    });
  }

  const DRAWN = { cost, patients, pairs, ranks };

  /* vega is half of all bytes, and below the table: it is loaded when the table is there. */
  let vega = null;
  function ready() {
    const script = (name) => new Promise((resolve, reject) => {
      const one = document.createElement("script");
      one.src = `${mcsr.root}assets/vendored/${name}.min.js`;
      one.onload = resolve;
      one.onerror = () => reject(new Error(`${name} is not in the folder of this site`));
      document.head.append(one);
    });
    vega ??= ["vega", "vega-lite", "vega-embed"].reduce((before, name) => before.then(() => script(name)), Promise.resolve());
    return vega;
  }

  async function draw(board, metric) {
    const m = board.metrics[metric];
    const before = $("reference").value;
    const trained = ordered(board, m);
    options($("reference"), trained.map((row) => [row.name, row.title]), trained.some((row) => row.name === before) ? before : trained.at(-1)?.name);
    last = { board, m };
    await ready();
    if (last.m !== m || last.board !== board) return;
    await Promise.all(Object.values(DRAWN).map((one) => one(board, m)));
    document.body.dataset.charts = `${board.name} ${metric}`;
  }

  options($("cost"), Object.keys(COSTS).map((key) => [key, COSTS[key].split(",")[0]]), "macs");
  $("cost").addEventListener("change", () => last && cost(last.board, last.m));
  $("reference").addEventListener("change", () => last && pairs(last.board, last.m));
  document.addEventListener("mcsr-theme", () => last && vega && Object.values(DRAWN).forEach((one) => one(last.board, last.m)));

  return { draw, front };
})();
