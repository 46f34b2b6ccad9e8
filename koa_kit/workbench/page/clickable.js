function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "koa-clickable";
  el.appendChild(box);
  const parts = () => [...box.querySelectorAll("[data-pick]")];
  const pick = (part) => {
    if (!part) return;
    const count = (model.get("picked").count || 0) + 1;
    model.set("picked", { value: part.dataset.pick, count });
    model.save_changes();
  };
  const mark = () => {
    for (const part of parts()) {
      const on = part.dataset.pick === model.get("chosen");
      part.classList.toggle("koa-chosen", on);
      part.setAttribute("aria-pressed", on ? "true" : "false");
    }
  };
  const draw = () => {
    const held = box.contains(document.activeElement) ? document.activeElement.dataset.pick : null;
    box.innerHTML = model.get("html");
    for (const part of parts()) {
      part.tabIndex = 0;
      part.setAttribute("role", "button");
    }
    mark();
    if (held !== null) (parts().find((part) => part.dataset.pick === held) || parts()[0])?.focus();
  };
  box.addEventListener("click", (event) => pick(event.target.closest("[data-pick]")));
  box.addEventListener("keydown", (event) => {
    const here = event.target.closest("[data-pick]");
    if (!here) return;
    const all = parts();
    const place = all.indexOf(here);
    const top = here.getBoundingClientRect().top;
    const column = Math.max(1, all.filter((part) => Math.abs(part.getBoundingClientRect().top - top) < 4).length);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: column, ArrowUp: -column }[event.key];
    if (step !== undefined) {
      all[place + step]?.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      pick(here);
    } else if (event.key === "PageDown" || event.key === "PageUp") {
      const turned = (model.get("turned").count || 0) + 1;
      model.set("turned", { by: event.key === "PageDown" ? 1 : -1, count: turned });
      model.save_changes();
    } else {
      return;
    }
    // a notebook would move to another cell, or scroll
    event.preventDefault();
    event.stopPropagation();
  });
  model.on("change:html", draw);
  model.on("change:chosen", mark);
  draw();
}
export default { render };
