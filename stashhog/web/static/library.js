// Stash is asked for what waits for a sync, and the page does not wait for Stash.
"use strict";

fetch("/library/pending")
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)))
  .catch(() => ({ count: "?", why: "StashHog does not answer" }))
  .then(({ count, why }) => {
    document.getElementById("pending").textContent = count;
    document.getElementById("pending-why").textContent = why;
  });
