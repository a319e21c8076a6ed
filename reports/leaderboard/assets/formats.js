"use strict";
/* Numbers as text, and a table as LaTeX, Markdown and CSV. */
mcsr.formats = (() => {
  const NONE = "–";
  const fixed = (value, digits) => (value === null || value === undefined ? NONE : value.toFixed(digits));

  function short(value) {
    if (value === null || value === undefined) return NONE;
    const [unit, letter] = value >= 1e12 ? [1e12, "T"] : value >= 1e9 ? [1e9, "G"] : value >= 1e6 ? [1e6, "M"] : value >= 1e3 ? [1e3, "k"] : [1, ""];
    return `${Number((value / unit).toPrecision(3))}${letter && ` ${letter}`}`;
  }

  const times = (value) => (value === null || value === undefined ? NONE : `${Number(value.toPrecision(2))}×`);
  const interval = (one, digits) => (one.low === null ? "" : `${fixed(one.low, digits)} to ${fixed(one.high, digits)}`);

  /* Rows of text, the head first: what the copies hold. Only the metric of the ranking has its interval and rank. */
  function cells(board, metric, rows) {
    const others = Object.entries(board.metrics).filter(([id]) => id !== metric);
    const of = board.metrics[metric];
    const unit = (m) => (m.unit ? `${m.title} (${m.unit})` : m.title);
    const head = ["Rank", "Method", unit(of), "95 % interval", ...others.map(([, m]) => unit(m)), "Parameters", "MACs", "Time / edsr", "Seeds", "Vouched for", "Reported"];
    const body = rows.map((row) => {
      const one = of.rows[row.name];
      return [
        one.rank === null ? NONE : String(one.rank), row.title, fixed(one.mean, of.decimals), interval(one, of.decimals) || NONE,
        ...others.map(([, m]) => fixed(m.rows[row.name]?.mean, m.decimals)), short(row.parameters), short(row.macs), times(row.latency),
        row.seeds.join(" "), vouched(row), row.reported[metric] ? `${row.reported[metric].text} (${row.reported[metric].where})` : NONE,
      ];
    });
    return [head, ...body];
  }

  function vouched(row) {
    const v = row.vouched;
    const part = v.level === "claimed" && v.verified ? ` (${v.verified} of ${v.seeds} seeds verified)` : "";
    return v.level + part + (v.reproduced ? `, reproduced by ${v.reproduced}` : "") + (v.apart ? `, not reproduced by ${v.apart}` : "");
  }

  const about = (board, metric) => `${board.title}; ranked by ${board.metrics[metric].title} (${metric}); protocol hash ${board.protocol_hash}, data ${board.fingerprint}, split ${board.split}`;

  const LATEX = { "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", $: "\\$", "&": "\\&", "#": "\\#", _: "\\_", "%": "\\%", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "–": "--", "×": "$\\times$", "±": "$\\pm$" };
  const tex = (text) => text.replace(/[\\{}$&#_%~^<>|–×±]/g, (sign) => LATEX[sign]);
  const md = (text) => text.replace(/[\\`*_[\]<>|]/g, (sign) => (sign === "<" ? "&lt;" : `\\${sign}`)).replace(/&(?!lt;)/g, "&amp;");
  const csv = (text) => {
    const plain = text === NONE ? "" : /^[=+@-]/.test(text) ? `'${text}` : text;
    return /[",\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  };

  function latex(board, metric, rows) {
    const [head, ...body] = cells(board, metric, rows).map((row) => row.map(tex));
    const line = (row) => `  ${row.join(" & ")} \\\\`;
    return [`% ${about(board, metric)}`.replace(/\n/g, " "), `\\begin{tabular}{rl${"r".repeat(head.length - 2)}}`, "  \\hline", line(head), "  \\hline", ...body.map(line), "  \\hline", "\\end{tabular}", ""].join("\n");
  }

  function markdown(board, metric, rows) {
    const [head, ...body] = cells(board, metric, rows).map((row) => row.map(md));
    const line = (row) => `| ${row.join(" | ")} |`;
    return [line(head), `|${head.map((_, k) => (k === 1 ? "---|" : "--:|")).join("")}`, ...body.map(line), "", md(about(board, metric)), ""].join("\n");
  }

  const table = (board, metric, rows) => [...cells(board, metric, rows).map((row) => row.map(csv).join(",")), ""].join("\n");

  return { fixed, short, times, interval, vouched, latex, markdown, csv: table, NONE };
})();
