// Starts a job on a plan, or finds one that works on it, and shows how far it is.
"use strict";

const status = document.getElementById("status");
const progress = document.getElementById("progress");
const run = document.getElementById("run");
const after = document.getElementById("after");
const plan = document.getElementById("plan").dataset.address;

function showJob(job) {
  status.textContent = job.message;
  if (job.fraction === null) progress.removeAttribute("value");
  else progress.value = job.fraction;
  run.hidden = !job.link;
  if (job.link) run.href = job.link;
  after.hidden = !(job.link || job.is_over);
}

function allow(yes) {
  for (const button of document.querySelectorAll("#plan button")) {
    button.disabled = !yes || button.hasAttribute("data-empty");
  }
}

// What is accepted and applied now, and which buttons there are.
async function redraw() {
  const page = new DOMParser().parseFromString(await request(location.href), "text/html");
  document.getElementById("plan").replaceWith(page.getElementById("plan"));
}

async function follow(number) {
  allow(false);
  progress.hidden = false;
  await followJob(number, showJob);
  await redraw();
}

async function inWords(work) {
  try {
    await work();
  } catch (error) {
    status.textContent = error.message;
    after.hidden = false;
    allow(true);
  }
  progress.hidden = true;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-address]");
  if (!button || (button.dataset.confirm && !confirm(button.dataset.confirm))) return;
  allow(false);
  status.textContent = "";
  inWords(async () => {
    const { job } = await send(button.dataset.address, {});
    await follow(job);
  });
});

// The page may be loaded again, or in another window, while a job goes on.
inWords(async () => {
  const { job } = await requestJson(`${plan}/job`);
  if (job !== null) await follow(job);
});
