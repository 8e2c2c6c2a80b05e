// Stash is asked for what waits for a sync, and the page does not wait for Stash.
"use strict";

fetch("/library/pending")
  .then((answer) => (answer.ok ? answer.json() : { words: "unknown" }))
  .catch(() => ({ words: "unknown" }))
  .then(({ words }) => { document.getElementById("pending").textContent = words; });
