const EVERY = 2000;
const PATIENCE = 5000;
const LOST = "The workbench does not answer: its server was stopped, or the connection to it is gone.";
const ENDED = "The workbench has ended: its kernel or its server was stopped or started anew.";
const KEPT =
  " The controls are off, since nothing pressed now would be kept. Notes, and reviews that were not saved, are kept in" +
  " this browser: they are offered again when the workbench is opened again, by koa explore in the terminal or by" +
  " running its cell in the notebook.";

function render({ model, el }) {
  const kernel = model.widget_manager?.kernel;
  if (!kernel?.serverSettings) return; // a page of another kind, which has its own ways
  const banner = document.createElement("div");
  banner.className = "koa-ex";
  el.appendChild(banner);
  let misses = 0;
  let ended = false;

  const tell = (why) => {
    const bench = el.closest(".koa-workbench");
    if (!bench || (bench.dataset.koaLost || "") === why) return;
    bench.dataset.koaLost = why;
    banner.replaceChildren();
    if (why) {
      const text = document.createElement("div");
      text.className = "koa-error koa-lost";
      text.setAttribute("role", "alert");
      text.textContent = why + KEPT;
      banner.appendChild(text);
    }
    // a note can still be typed: it is kept
    for (const part of bench.querySelectorAll("button, input, select, textarea:not(.koa-note textarea)")) {
      if (why && !part.disabled) {
        part.disabled = true;
        part.dataset.koaOff = "";
      } else if (!why && "koaOff" in part.dataset) {
        part.disabled = false;
        delete part.dataset.koaOff;
      }
    }
    for (const part of bench.querySelectorAll(".koa-clickable, .noUi-target, .lm-TabBar")) part.inert = Boolean(why);
    bench.dispatchEvent(new Event("koa-connection"));
  };

  const look = async () => {
    if (ended || document.hidden) return;
    try {
      const place = `${kernel.serverSettings.baseUrl}api/kernels/${encodeURIComponent(kernel.id)}`;
      const options = { cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(PATIENCE) };
      ended = !(await fetch(place, options)).ok;
      misses = 0;
    } catch {
      misses += 1;
    }
    if (ended) tell(ENDED);
    else if (misses === 0) tell("");
    else if (misses > 1) tell(LOST);
    else setTimeout(look, EVERY / 4); // once may be chance
  };
  const heard = (_, status) => {
    if (!["restarting", "autorestarting", "terminating", "dead"].includes(status)) return;
    ended = true; // another kernel, if any, knows nothing of this page
    tell(ENDED);
  };
  const timer = setInterval(look, EVERY);
  kernel.statusChanged?.connect(heard);
  kernel.connectionStatusChanged?.connect(look);
  document.addEventListener("visibilitychange", look);
  return () => {
    clearInterval(timer);
    kernel.statusChanged?.disconnect(heard);
    kernel.connectionStatusChanged?.disconnect(look);
    document.removeEventListener("visibilitychange", look);
  };
}
export default { render };
