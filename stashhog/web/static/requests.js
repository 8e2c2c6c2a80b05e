// Requests of the pages' scripts. Whatever goes wrong is an error with one sentence.
"use strict";

const JOB_PAUSE_MS = 700;
// How often in a row the pages may not answer while a job goes on: they may start again.
const MOST_MISSED = 60;

// Return the text of the answer. An error has `isRefusal` where asking again is refused
// again, and `isOutage` where nothing has answered.
async function request(path, options) {
  let answer;
  let text;
  try {
    answer = await fetch(path, options);
    text = await answer.text();
  } catch {
    const error = new Error("StashHog does not answer. Once it runs again, reload this page to see what is stored");
    error.isOutage = true;
    throw error;
  }
  if (answer.ok) return text;
  const error = new Error(sentenceOf(answer, text));
  // Anything else, such as a database that is away, may succeed the next time.
  error.isRefusal = answer.status === 409;
  throw error;
}

// A proxy between the browser and StashHog answers with pages of its own.
function sentenceOf(answer, text) {
  const kind = answer.headers.get("content-type") || "";
  if (kind.startsWith("application/json")) return JSON.parse(text).error;
  if (kind.startsWith("text/plain") && text.trim()) return text.trim();
  return `The server answered with status ${answer.status}. Reload this page`;
}

async function requestJson(path) {
  return JSON.parse(await request(path));
}

async function send(path, content) {
  const answer = await request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  });
  return JSON.parse(answer);
}

// Tell how far a job is until it has ended.
async function followJob(number, tell) {
  for (let missed = 0; ;) {
    try {
      const job = await requestJson(`/jobs/${number}`);
      missed = 0;
      tell(job);
      if (job.is_over) return;
    } catch (error) {
      missed += 1;
      if (!error.isOutage || missed > MOST_MISSED) throw error;
    }
    await new Promise((next) => setTimeout(next, JOB_PAUSE_MS));
  }
}
