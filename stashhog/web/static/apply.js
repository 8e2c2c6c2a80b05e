// Starts a job on a plan, and shows how far it is.
"use strict";

const status = document.getElementById("status");
const progress = document.getElementById("progress");
const run = document.getElementById("run");

async function ask(path, options) {
  const answer = await fetch(path, options);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
}

async function follow(number) {
  for (;;) {
    const job = await ask(`/jobs/${number}`);
    status.textContent = job.message;
    if (job.fraction === null) progress.removeAttribute("value");
    else progress.value = job.fraction;
    run.hidden = !job.link;
    if (job.link) run.href = job.link;
    document.getElementById("after").hidden = !(job.link || job.is_over);
    if (job.is_over) return;
    await new Promise((next) => setTimeout(next, 700));
  }
}

async function start(button) {
  const buttons = document.querySelectorAll(".actions button");
  for (const one of buttons) one.disabled = true;
  progress.hidden = false;
  try {
    const { job } = await ask(button.dataset.address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: "{}",
    });
    await follow(job);
  } catch (error) {
    status.textContent = error.message;
  }
  progress.hidden = true;
  document.getElementById("after").hidden = false;
}

for (const id of ["apply", "undo"]) {
  const button = document.getElementById(id);
  button.addEventListener("click", () => start(button));
}
