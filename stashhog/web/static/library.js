// Stash is asked for what waits for a sync, and the page does not wait for Stash.
"use strict";

requestJson("/library/pending")
  .catch((error) => ({ count: "?", why: error.message }))
  .then(({ count, why }) => {
    document.getElementById("pending").textContent = count;
    document.getElementById("pending-noun").textContent = count === "1" ? "scene" : "scenes";
    document.getElementById("pending-why").textContent = why;
  });
