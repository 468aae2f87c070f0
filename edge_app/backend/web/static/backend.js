// Times in the reader's own zone, and encounters as they come. Everything else works without.
"use strict";

const byId = (id) => document.getElementById(id);
// The page's language, in the way the reader's country writes it.
const said = document.documentElement.lang;
const language = navigator.languages.find((one) => one.startsWith(said)) ?? said;

document.querySelector("[data-focus]")?.focus();

// A page that the browser kept must not show what has been deleted since.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

const wholeTime = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
const dayAlone = new Intl.DateTimeFormat(language, { dateStyle: "medium" });

function localTimes(within) {
  for (const time of within.querySelectorAll("time")) {
    const format = "day" in time.dataset ? dayAlone : wholeTime;
    time.textContent = format.format(new Date(time.dateTime));
  }
}

localTimes(document);

// ---------------------------------------------------------------- sound

const sound = {
  context: null,
  get on() { return this.context?.state === "running"; },
  async turn() {
    const wasOn = this.on;
    this.context ??= new AudioContext();
    await (wasOn ? this.context.suspend() : this.context.resume());
  },
  // Two tones upwards: an encounter. Downwards: something is wrong.
  play(tones) {
    if (!this.on) return;
    tones.forEach((hertz, number) => {
      const tone = this.context.createOscillator();
      const volume = this.context.createGain();
      const begin = this.context.currentTime + 0.18 * number;
      volume.gain.setValueAtTime(0.25, begin);
      volume.gain.exponentialRampToValueAtTime(0.001, begin + 0.35);
      tone.frequency.value = hertz;
      tone.connect(volume).connect(this.context.destination);
      tone.start(begin);
      tone.stop(begin + 0.4);
    });
  },
};

// ----------------------------------------------------------------- live

const SILENT_MS = 12000;
const WARNED_S = 600;

function live(address) {
  const list = byId("encounters");
  const title = document.title;
  let problem = null;
  let lastBeat = Date.now();

  const items = () => new Map([...list.children].map((item) => [item.dataset.key, item]));

  function showProblem(name) {
    if (name === problem) return;
    if (name && problem !== null) sound.play([440, 330]);
    problem = name;
    byId("problem").hidden = !name;
    for (const text of byId("problem").children) text.hidden = text.dataset.problem !== name;
    const state = byId("state");
    state.classList.toggle("on", !name);
    state.textContent = name ? state.dataset.waitingText : state.dataset.liveText;
  }

  function count() {
    const waiting = list.querySelectorAll(".new").length;
    document.title = waiting ? `(${waiting}) ${title}` : title;
    byId("nothing").hidden = list.children.length > 0;
  }

  function put({ key, html }) {
    const item = new DOMParser().parseFromString(html, "text/html").querySelector("li");
    const there = items().get(key);
    localTimes(item);
    if (there) {
      item.querySelector("details").open = there.querySelector("details").open;
      const hadFocus = there.contains(document.activeElement);
      there.replaceWith(item);
      if (hadFocus) item.querySelector("button, summary").focus();
    } else {
      list.prepend(item);
      if (item.classList.contains("new")) {
        byId("news").textContent = `${byId("news").dataset.text} ${item.querySelector("h2").textContent}`;
        sound.play([660, 880]);
      }
    }
    count();
  }

  function sort(order) {
    const there = items();
    for (const [key, item] of there) if (!order.includes(key)) item.remove();
    order.forEach((key, place) => {
      const item = there.get(key);
      if (item && list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
    });
    count();
  }

  const events = new EventSource(address);
  const on = (kind, act) => events.addEventListener(kind, (event) => act(JSON.parse(event.data)));
  on("encounter", put);
  on("gone", ({ key }) => { items().get(key)?.remove(); count(); });
  on("beat", (beat) => {
    lastBeat = Date.now();
    sort(beat.order);
    showProblem(beat.problem);
    byId("soon").hidden = beat.left_s > WARNED_S;
  });
  on("end", () => { events.close(); clearInterval(watch); showProblem("ended"); });

  const watch = setInterval(async () => {
    if (Date.now() - lastBeat < SILENT_MS) return;
    showProblem("lost");
    if (events.readyState !== EventSource.CLOSED) return;
    // Refused for good: the session is over, or there are too many views.
    const answer = await fetch(address.replace(/live$/, "encounters"), { method: "HEAD" }).catch(() => null);
    if (answer?.redirected || answer?.status === 401) {
      clearInterval(watch);
      showProblem("ended");
    } else if (answer) {
      location.reload();
    }
  }, 2000);

  list.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    // Not disabled: a button that is loses the focus, and whoever has no mouse their place.
    if (form.dataset.sent) return;
    form.dataset.sent = "yes";
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) })
      .catch(() => null);
    if (!answer?.ok) {
      delete form.dataset.sent;
      showProblem("lost");
    }
  });

  const button = byId("sound");
  button.hidden = !window.AudioContext;
  button.addEventListener("click", async () => {
    await sound.turn();
    button.setAttribute("aria-pressed", String(sound.on));
    sound.play([660, 880]);
  });

  count();
}

if (document.body.dataset.live) live(document.body.dataset.live);
