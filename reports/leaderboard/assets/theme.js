"use strict";
/* Dark or light: as the system has it, until the switch says otherwise. Loaded in the head, so that nothing flashes. */
(() => {
  const kept = () => { try { return localStorage.getItem("mcsr-theme"); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem("mcsr-theme", theme); } catch { /* a file without storage */ } };
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const shown = () => document.documentElement.dataset.theme || (system.matches ? "dark" : "light");
  const set = (theme) => { if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme; };
  set(kept());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => { button.textContent = shown() === "dark" ? "Light" : "Dark"; button.setAttribute("aria-label", `Switch to ${button.textContent.toLowerCase()} colours`); };
    const changed = () => { label(); document.dispatchEvent(new Event("mcsr-theme")); };
    button.addEventListener("click", () => { const next = shown() === "dark" ? "light" : "dark"; set(next); keep(next); changed(); });
    system.addEventListener("change", changed);
    label();
  });
})();
