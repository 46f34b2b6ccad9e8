const PATIENCE = 5000;

// Text under a key in this browser, where the page is allowed to keep any; else as long as the page is open.
function kept(name) {
  const prefix = `koa/${name}/`;
  const spare = new Map();
  const stored = (act, otherwise) => {
    try {
      return act(window.localStorage);
    } catch {
      return otherwise();
    }
  };
  return {
    prefix,
    get: (key) => spare.get(key) ?? stored((store) => store.getItem(prefix + key), () => null),
    put: (key, text) => stored((store) => store.setItem(prefix + key, text), () => spare.set(key, text)),
    drop: (key) => {
      spare.delete(key);
      stored((store) => store.removeItem(prefix + key), () => null);
    },
    keys: () => {
      const own = stored((store) => Object.keys(store), () => []).filter((key) => key.startsWith(prefix));
      return [...spare.keys(), ...own.map((key) => key.slice(prefix.length))];
    },
  };
}

function made(tag, css, ...parts) {
  const element = document.createElement(tag);
  element.className = css;
  element.append(...parts);
  return element;
}

function button(text, css, act) {
  const element = made("button", `jupyter-widgets jupyter-button widget-button ${css}`, text);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

function render({ model, el }) {
  const keep = kept(model.get("store"));
  const reader = made("input", "");
  const note = made("textarea", "");
  const summary = made("div", "koa-reviewed");
  const unsaved = made("div", "koa-unsaved");
  Object.assign(reader, { type: "text", placeholder: "your name", value: model.get("reader") });
  Object.assign(note, { placeholder: "note (optional)" });
  const agree = button("agree", "koa-agree", () => press("agree"));
  const bad = button("bad image", "koa-bad", () => press("bad_image"));
  const grades = [0, 1, 2, 3, 4].map((grade) =>
    button(`KL${grade}`, `koa-grade koa-say-${grade}`, () => press("disagree", grade)),
  );
  const name = made("div", "jupyter-widgets widget-text koa-reader", reader);
  const body = made("div", "koa-ex koa-review");
  body.append(
    made("div", "koa-review-row", name, agree, bad),
    made("div", "koa-review-row", made("span", "", "I would say"), ...grades),
    made("div", "jupyter-widgets widget-textarea koa-note", note),
    summary,
    unsaved,
  );
  body.dataset.lmSuppressShortcuts = "true"; // keys typed here are no commands of a notebook
  el.appendChild(body);

  let at; // the knee that is shown, and that everything typed and pressed here is about
  const sent = new Map(); // by id, when; until the log has it
  const offered = new Set(); // of an earlier page, and sent again

  const draft = (knee) => keep.get(`draft/${knee}`) ?? "";
  const review = (id) => {
    try {
      return JSON.parse(keep.get(`review/${id}`));
    } catch {
      return null;
    }
  };
  const send = (said) => {
    keep.put(`review/${said.id}`, JSON.stringify(said)); // before anything can go wrong
    sent.set(said.id, { knee: said.knee, since: Date.now() });
    setTimeout(update, PATIENCE + 100);
    update();
    try {
      model.send({ review: said });
    } catch {
      // nobody is there to hear it: it stays kept
    }
  };
  const press = (answer, grade = null) => {
    const { knee, kl, last } = model.get("shown");
    const large = el.closest(".koa-workbench")?.querySelector(".koa-knee [data-knee]");
    if (large && large.dataset.knee !== knee) return; // another knee is about to be shown
    const who = reader.value.trim();
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const id = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const seen = Object.hasOwn(last, who) ? last[who] : "";
    send({ id, knee, kl, reader: who, answer, grade, note: note.value, seen });
  };

  const offers = () => {
    const lines = [];
    for (const key of keep.keys().filter((key) => key.startsWith("review/"))) {
      const id = key.slice("review/".length);
      const said = review(id);
      const under = sent.get(id);
      if (!said || (under && Date.now() - under.since < PATIENCE)) continue;
      const grade = said.answer === "disagree" ? `KL${said.grade}` : said.answer === "agree" ? `agree, KL${said.kl}` : "bad image";
      const text = `${said.reader || "nobody"}, knee ${said.knee}: ${grade}${said.note ? ` “${said.note}”` : ""} `;
      const line = made("div", "koa-review-row koa-offer", made("span", "", text));
      if (under) line.append("is not confirmed yet.");
      else {
        line.append(
          button("save it now", "koa-save", () => {
            offered.add(id);
            send(said);
          }),
          button("discard", "koa-discard", () => {
            keep.drop(key);
            update();
          }),
        );
      }
      lines.push(line);
    }
    const lead = made("p", "koa-soft koa-lead", "Not saved yet, and kept in this browser:");
    unsaved.replaceChildren(...(lines.length ? [lead, ...lines] : []));
  };

  const update = () => {
    const { knee, kl, closed, summary: said } = model.get("shown");
    const off = Boolean(el.closest(".koa-workbench")?.dataset.koaLost);
    const busy = [...sent.values()].some((one) => one.knee === knee);
    agree.textContent = knee ? `agree: KL${kl}` : "agree";
    offers();
    for (const each of [agree, bad, ...grades]) each.disabled = off || busy || !knee || Boolean(closed);
    if (knee) grades[kl].disabled = true;
    for (const each of unsaved.querySelectorAll("button")) each.disabled = off;
    note.disabled = !knee;
    summary.innerHTML = said ?? ""; // escaped where it was made
  };
  const turn = () => {
    const { knee } = model.get("shown");
    if (knee !== at) {
      at = knee;
      note.value = knee ? draft(knee) : "";
      note.placeholder = knee ? `note on ${knee} (optional)` : "";
    }
    update();
  };
  const answered = ({ saved, refused }) => {
    const id = saved ?? refused;
    const said = review(id);
    sent.delete(id);
    if (saved && said && draft(said.knee) === said.note) {
      keep.drop(`draft/${said.knee}`);
      if (at === said.knee && note.value === said.note) note.value = "";
    }
    if (saved || !offered.has(id)) keep.drop(`review/${id}`); // what was refused stands in the form to be pressed again
    update();
  };
  const elsewhere = (event) => {
    if (event.key?.startsWith(keep.prefix)) setTimeout(update, PATIENCE);
  };
  const typed = () => (note.value ? keep.put(`draft/${at}`, note.value) : keep.drop(`draft/${at}`));

  note.addEventListener("input", typed);
  reader.addEventListener("change", () => {
    model.set("reader", reader.value);
    model.save_changes();
  });
  model.on("change:shown", turn);
  model.on("msg:custom", answered);
  window.addEventListener("storage", elsewhere);
  const connected = () => update();
  let bench;
  requestAnimationFrame(() => {
    bench = el.closest(".koa-workbench"); // not yet around it while it is drawn
    bench?.addEventListener("koa-connection", connected);
    update();
  });
  turn();
  return () => {
    window.removeEventListener("storage", elsewhere);
    bench?.removeEventListener("koa-connection", connected);
  };
}
export default { render };
