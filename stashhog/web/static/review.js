// Decisions on a plan: one key each, shown at once, taken back if the server refuses.
"use strict";

const rows = document.getElementById("rows");
const plan = `/plans/${rows.dataset.plan}`;
const status = document.getElementById("status");
const view = rows.dataset.view;
const WORDS = { accept: "approved", reject: "rejected" };
// The decisions of this window, so that each can be taken back, also after a reload.
const stackName = `decisions of plan ${rows.dataset.plan}`;
const stack = JSON.parse(sessionStorage.getItem(stackName) || "[]");
let current = null;
let anchor = null;
// Requests go one after the other: the server sees decisions in the order of the keys.
let queue = Promise.resolve();
// Decisions that wait for their turn together, and go in one request.
let batch = null;
const MOST_TOGETHER = 500;

const allRows = () => [...rows.querySelectorAll(".row")];
const isChange = (row) => row.classList.contains("change");
const idOf = (row) => Number(row.dataset.id);
const shownIds = () => [...rows.querySelectorAll(".change")].map(idOf);
const selected = () => [...rows.querySelectorAll(".change.selected")];

function say(words) {
  status.textContent = words;
}

function focusRow(row) {
  if (!row) return;
  if (current) current.tabIndex = -1;
  current = row;
  row.tabIndex = 0;
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function select(row, yes) {
  if (!isChange(row)) return;
  row.classList.toggle("selected", yes);
  row.querySelector(".select").checked = yes;
}

function move(step, extend) {
  const all = allRows();
  const at = current ? all.indexOf(current) : step > 0 ? -1 : all.length;
  const next = all[at + step];
  if (!next) {
    const more = rows.querySelector(".more");
    if (step > 0 && (loading || more)) {
      return (loading || loadMore(more)).then(() => move(step, extend));
    }
    return undefined;
  }
  if (extend && current) select(current, true);
  focusRow(next);
  if (extend) select(next, true);
  return undefined;
}

function show(row, decision) {
  row.dataset.decision = decision;
  row.querySelector(".decision").textContent = decision;
  row.setAttribute("aria-label", `${row.dataset.words}, ${decision}`);
}

function showNow(answer) {
  for (const [id, decision] of Object.entries(answer.changes)) {
    const row = document.getElementById(`change-${id}`);
    if (row) show(row, decision);
  }
  const open = document.getElementById("open-changes");
  const count = Number(open.dataset.count) + answer.opened;
  open.dataset.count = count;
  open.textContent = `${count} open ${count === 1 ? "change" : "changes"}`;
  document.getElementById("plan-state").textContent = answer.state;
}

function remember({ decision_ids }) {
  stack.push(...decision_ids.filter((id) => id !== null));
  keepStack();
}

function keepStack() {
  sessionStorage.setItem(stackName, JSON.stringify(stack));
}

// Do the next thing when all earlier ones are done; say what went wrong.
function inTurn(work) {
  batch = null;
  queue = queue.then(work).catch((error) => say(error.message));
  return queue;
}

function decide(targets, decision) {
  const wanted = WORDS[decision];
  const changes = targets.filter((row) => row.dataset.decision !== wanted);
  if (!changes.length) {
    say(`Already ${wanted}`);
    return;
  }
  const seen = Object.fromEntries(changes.map((r) => [idOf(r), r.dataset.decision]));
  // Of conflicts: which value in Stash the reviewer sees, and overwrites.
  const over = Object.fromEntries(
    changes.filter((r) => r.dataset.decision === "conflict").map((r) => [idOf(r), r.dataset.over || ""]),
  );
  for (const row of changes) show(row, wanted);
  if (!batch || batch.length >= MOST_TOGETHER) {
    const mine = [];
    inTurn(() => {
      if (batch === mine) batch = null;
      return sendDecisions(mine);
    });
    batch = mine;
  }
  batch.push({ decision, seen, over, changes });
}

async function sendDecisions(waited) {
  let answer;
  try {
    const decisions = waited.map(({ decision, seen, over }) => ({ decision, seen, over }));
    answer = await send(`${plan}/decide`, { decisions });
  } catch (error) {
    for (const { seen, changes } of waited.reverse()) {
      for (const row of changes) show(row, seen[idOf(row)]);
    }
    throw error;
  }
  remember(answer);
  showNow(answer);
  say(answer.lines.join(". "));
  // Stash has another value than the row shows: draw the value that it has.
  const stale = waited.flatMap(({ over }) => Object.keys(over)).filter((id) => answer.changes[id] === "conflict");
  for (const id of stale) document.getElementById(`change-${id}`)?.classList.add("edited");
  if (stale.length) await reload();
}

function pageFilter() {
  const filter = {};
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (name !== "view" && name !== "after" && value !== "") filter[name] = value;
  }
  for (const name of ["least", "below"]) {
    if (name in filter) filter[name] = Number(filter[name]);
  }
  return filter;
}

function decideGroup(row, decision) {
  const group = row && row.closest(".group");
  const filter = pageFilter();
  const sent = { decision, filter, shown: shownIds() };
  if (group && group.dataset.scene) sent.scene_id = Number(group.dataset.scene);
  else if (group) Object.assign(filter, Object.fromEntries(new URLSearchParams(group.dataset.filter)));
  else if (!confirm(`${decision === "accept" ? "Accept" : "Reject"} all open changes that the filter shows?`)) return;
  inTurn(async () => {
    const answer = await send(`${plan}/decide-all`, sent);
    remember(answer);
    showNow(answer);
    say(answer.lines.join(". "));
    if (view === "value") await reload();
  });
}

function takeBack() {
  inTurn(async () => {
    const id = stack.at(-1);
    if (id === undefined) {
      say("This window has no decision left to take back");
      return;
    }
    const forget = () => {
      stack.pop();
      keepStack();
    };
    let answer;
    try {
      answer = await send(`${plan}/take-back`, { decision_id: id, shown: shownIds() });
    } catch (error) {
      if (error.isRefusal) forget();
      throw error;
    }
    forget();
    showNow(answer);
    say(answer.lines.join(". "));
    await reload();
  });
}

// Undo a change or a scene in Stash; the rows show the outcome.
function undoApplied(button) {
  const row = button.closest(".change");
  const scene = button.closest(".scene");
  const sent = row ? { change_id: idOf(row) } : { scene_id: Number(scene.dataset.scene) };
  if (!confirm(row ? "Undo this change in Stash?" : "Undo all applied changes of this scene in Stash?")) return;
  inTurn(async () => {
    const { job } = await send(`${plan}/undo`, sent);
    await followJob(job, ({ message }) => say(message));
    (scene || row).classList.add("edited");
    await reload();
  });
}

// Draw what is shown anew: values may have changed, not only decisions.
async function reload() {
  if (view !== "value" && !rows.querySelector(".edited")) return;
  const at = current && current.id;
  const address = new URL(location.href);
  address.searchParams.set("part", "1");
  rows.innerHTML = await request(address);
  current = null;
  if (at) focusRow(document.getElementById(at));
}

let loading = null;

// Whoever asks while rows are loaded waits for the same rows.
function loadMore(link) {
  loading ??= fetchMore(link).finally(() => { loading = null; });
  return loading;
}

async function fetchMore(link) {
  const more = await request(link.href);
  link.remove();
  rows.insertAdjacentHTML("beforeend", more);
  watchMore();
}

const watcher = new IntersectionObserver((seen) => {
  for (const one of seen) {
    if (one.isIntersecting) {
      watcher.unobserve(one.target);
      loadMore(one.target).catch((error) => say(error.message));
    }
  }
}, { rootMargin: "600px" });

function watchMore() {
  const more = rows.querySelector(".more");
  if (more) watcher.observe(more);
}

// --- editing ---------------------------------------------------------------------------

const dialog = document.getElementById("edit");
const nameBox = document.getElementById("edit-name");
const textBox = document.getElementById("edit-text");
const TEXTS = new Set(rows.dataset.texts.split(" "));

function openEdit(row) {
  if (!row || !isChange(row)) return;
  const isText = TEXTS.has(row.dataset.field);
  dialog.row = row;
  document.getElementById("edit-name-label").hidden = isText;
  document.getElementById("edit-text-label").hidden = !isText;
  document.getElementById("edit-error").textContent = "";
  const text = row.querySelector(".text");
  textBox.value = text ? text.textContent : "";
  nameBox.value = "";
  dialog.showModal();
  (isText ? textBox : nameBox).focus();
}

nameBox.addEventListener("input", async () => {
  const query = new URLSearchParams({ field: dialog.row.dataset.field, text: nameBox.value });
  let found;
  try {
    found = await requestJson(`/names?${query}`);
  } catch (error) {
    document.getElementById("edit-error").textContent = error.message;
    return;
  }
  const list = document.getElementById("edit-names");
  list.replaceChildren(
    ...found.map(({ name, alias }) => {
      const option = document.createElement("option");
      option.value = name;
      if (alias) option.label = `${name} (${alias})`;
      return option;
    }),
  );
});

document.getElementById("edit-form").addEventListener("submit", (event) => {
  if (event.submitter && event.submitter.value !== "save") return;
  event.preventDefault();
  const row = dialog.row;
  const seen = { [idOf(row)]: row.dataset.decision };
  const isText = TEXTS.has(row.dataset.field);
  const sent = isText ? { seen, text: textBox.value } : { seen, by: nameBox.value };
  inTurn(async () => {
    let answer;
    try {
      answer = await send(`${plan}/${isText ? "edit" : "replace"}`, sent);
    } catch (error) {
      document.getElementById("edit-error").textContent = error.message;
      return;
    }
    remember(answer);
    dialog.close();
    row.classList.add("edited");
    showNow(answer);
    say(answer.lines.join(". "));
    await reload();
  });
});

// --- keys, mouse and touch -------------------------------------------------------------

function targets(row) {
  const chosen = selected();
  return chosen.length ? chosen : row && isChange(row) ? [row] : [];
}

const KEYS = new Set("jkJKarARuex/?".split("").concat("ArrowDown", "ArrowUp", "Enter"));

// Returns a promise where the next key has to wait, as for the next rows.
function act(key) {
  const row = current;
  if (row && !isChange(row) && (key === "a" || key === "r") && !selected().length) {
    return decideGroup(row, key === "a" ? "accept" : "reject");
  }
  switch (key) {
    case "j": case "ArrowDown": return move(1, false);
    case "k": case "ArrowUp": return move(-1, false);
    case "J": return move(1, true);
    case "K": return move(-1, true);
    case "A": return decideGroup(row, "accept");
    case "R": return decideGroup(row, "reject");
    case "u": return takeBack();
    case "e": return openEdit(row);
    case "x": return row && select(row, !row.classList.contains("selected"));
    case "/":
      document.querySelector(".filter").open = true;
      return document.getElementById("filter-text").focus();
    case "?": return document.getElementById("help").showModal();
    case "Enter":
      return (row?.querySelector("a.open") || row?.closest(".group")?.querySelector("a.open"))?.click();
    default:
  }
  decide(targets(row), key === "a" ? "accept" : "reject");
  // After a decision: the next row, unless several were decided on.
  const several = selected();
  for (const one of several) select(one, false);
  return several.length ? undefined : move(1, false);
}

// Keys that come while the next rows are loaded are not lost, and not for another row.
let keys = null;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS.has(event.key)) return;
  if (event.target.closest("input:not(.select), select, textarea, dialog")) return;
  if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
  event.preventDefault();
  if (keys) {
    const next = keys.then(() => act(event.key)).then(() => {
      if (keys === next) keys = null;
    });
    keys = next;
    return;
  }
  const waiting = act(event.key);
  if (!(waiting instanceof Promise)) return;
  const turn = waiting.catch((error) => say(error.message)).then(() => {
    if (keys === turn) keys = null;
  });
  keys = turn;
});

rows.addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (row && !event.target.closest("a")) {
    if (event.shiftKey && anchor) {
      const all = allRows();
      const [from, to] = [all.indexOf(anchor), all.indexOf(row)].sort((a, b) => a - b);
      for (const one of all.slice(from, to + 1)) select(one, true);
    } else if (event.target.matches(".select")) {
      select(row, event.target.checked);
    }
    anchor = row;
    focusRow(row);
  }
  const button = event.target.closest("button");
  if (event.target.matches(".more")) {
    event.preventDefault();
    loadMore(event.target).catch((error) => say(error.message));
  } else if (button?.matches(".accept")) decide([row], "accept");
  else if (button?.matches(".reject")) decide([row], "reject");
  else if (button?.matches(".edit")) openEdit(row);
  else if (button?.matches(".undo")) undoApplied(button);
  else if (button?.matches(".accept-all")) decideGroup(button, "accept");
  else if (button?.matches(".reject-all")) decideGroup(button, "reject");
});

rows.addEventListener("focusin", (event) => {
  const row = event.target.closest(".row");
  if (row && row !== current) {
    if (current) current.tabIndex = -1;
    current = row;
    row.tabIndex = 0;
  }
});

document.getElementById("help-button").addEventListener("click", () => document.getElementById("help").showModal());
document.getElementById("undo-button").addEventListener("click", takeBack);

const first = allRows()[0];
if (first) first.tabIndex = 0;
watchMore();
