"use strict";
/* What is behind a row: who vouches for it, how to get it again, what its scores are, and the scores of every patient and slice. */
mcsr.details = (() => {
  const { node, copy } = mcsr;
  const { fixed, interval, NONE } = mcsr.formats;

  function badges(row) {
    const v = row.vouched;
    const said = v.level === "claimed" && v.verified ? `claimed (${v.verified} of ${v.seeds} verified)` : v.level;
    return [
      node("span", { class: `badge ${v.level}` }, said),
      v.reproduced > 0 && node("span", { class: "badge reproduced" }, `reproduced by ${v.reproduced}`),
      v.apart > 0 && node("span", { class: "badge apart" }, `not reproduced by ${v.apart}`),
    ].filter(Boolean);
  }

  function command(text) {
    const button = node("button", { type: "button", class: "quiet copy" }, "Copy");
    button.addEventListener("click", async () => { button.textContent = (await copy(text)) ? "Copied" : "Not copied"; });
    return node("div", {}, button, node("pre", { tabindex: "0" }, node("code", {}, text)));
  }

  function scores(board, row) {
    const head = ["metric", "mean", "95 % interval", "sd over seeds", "rank", "reported"];
    const line = ([id, m]) => {
      const one = m.rows[row.name];
      const paper = row.reported[id];
      return node("tr", {}, node("th", { scope: "row" }, m.unit ? `${m.title} (${m.unit})` : m.title),
        ...[fixed(one.mean, m.decimals), interval(one, m.decimals) || NONE, fixed(one.sd, m.decimals + 1), one.rank === null ? `none: ${one.why || "no test"}` : String(one.rank), paper ? `${paper.text} (${paper.where})` : NONE].map((text) => node("td", { class: "n" }, text)));
    };
    return node("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores" }, node("table", {},
      node("thead", {}, node("tr", {}, ...head.map((text) => node("th", { scope: "col" }, text)))),
      node("tbody", {}, ...Object.entries(board.metrics).map(line))));
  }

  function open(board, row) {
    const dialog = document.getElementById("details");
    document.getElementById("d-title").textContent = row.title;
    const reason = row.vouched.level === "claimed" && row.vouched.reason;
    document.getElementById("d-body").replaceChildren(...[
      node("p", { class: "facts" }, `${row.about}. Sees ${row.phase ? "phase" : "magnitudes alone"}, ${row.contrasts === "multi" ? "target and auxiliary" : "the target alone"}. `, node("a", { href: row.page }, "Card and presets")),
      node("p", {}, ...badges(row), ...row.flags.map((text) => node("span", { class: "badge flag" }, text))),
      reason && node("p", { class: "facts" }, `Not verified: ${reason}.`),
      scores(board, row),
      node("h3", {}, "Command"), command(row.command),
      node("h3", {}, "Scores to download"),
      node("p", {}, node("a", { href: row.downloads.volumes, download: true }, "per patient and volume (CSV)"), " ", node("a", { href: row.downloads.slices, download: true }, "per slice (CSV)")),
      node("h3", {}, "Signatures"),
      node("ul", { class: "signatures" }, ...Object.values(row.signatures).map((text) => node("li", {}, node("code", {}, text)))),
      row.notes.length > 0 && node("h3", {}, "Notes"),
      row.notes.length > 0 && node("ul", {}, ...row.notes.map((text) => node("li", {}, text))),
    ].filter(Boolean));
    dialog.showModal();
    dialog.scrollTop = 0;
  }

  return { open, badges };
})();
