"use strict";
/* Data come as scripts, each of which calls mcsr.loaded(NAME, VALUE): a page opened as a file may load nothing else. */
const mcsr = (() => {
  const root = document.body.dataset.root;
  const kept = new Map();
  const waiting = new Map();

  function load(name) {
    if (!kept.has(name)) {
      kept.set(name, new Promise((resolve, reject) => {
        waiting.set(name, resolve);
        const script = document.createElement("script");
        script.src = `${root}data/${name.split("/").map(encodeURIComponent).join("/")}.js`;
        script.onload = () => script.remove();
        script.onerror = () => { kept.delete(name); script.remove(); reject(new Error(`${name} is not in the folder of this site`)); };
        document.head.append(script);
      }));
    }
    return kept.get(name);
  }

  function loaded(name, value) {
    const resolve = waiting.get(name);
    waiting.delete(name);
    if (resolve) resolve(value);
  }

  /* An element: attributes and listeners by name, children as elements or text. Text is never taken for HTML. */
  function node(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
    return made;
  }

  function options(select, entries, chosen) {
    select.replaceChildren(...entries.map(([value, text]) => node("option", { value, selected: value === chosen }, text)));
    select.value = chosen;
  }

  /* What stands behind the # of the address. */
  const state = {
    read: () => Object.fromEntries(new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "")),
    write: (values) => history.replaceState(null, "", `#${new URLSearchParams(values)}`),
  };

  /* A colour of the style sheet, as it is in the present theme. */
  function colour(name) {
    const probe = node("span", { style: `color: var(--${name})`, hidden: true });
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = node("textarea", { "aria-hidden": "true", style: "position: fixed; opacity: 0" });
      area.value = text;
      (document.querySelector("dialog[open]") || document.body).append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }

  for (const block of document.querySelectorAll("pre")) {
    const button = node("button", { type: "button", class: "quiet copy" }, "Copy");
    button.addEventListener("click", async () => { button.textContent = (await copy(block.textContent)) ? "Copied" : "Not copied"; });
    block.before(button);
  }

  return { load, loaded, node, options, state, colour, copy, root };
})();
