// The station's page: the camera's loop, spoken words, and the warning before a visit ends.
// Everything else works without.
"use strict";

const byId = (id) => document.getElementById(id);
const page = document.body.dataset;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const post = (path, body) =>
  fetch(page.at + path, { method: "POST", headers: { "X-Token": page.token }, body });

document.querySelector("[data-focus]")?.focus();

// A page that the browser kept must not show what the station has forgotten.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// ---------------------------------------------------------------- time

const WARNED_MS = 60000;

function warnInTime() {
  const idle_ms = Number(page.idleS) * 1000;
  const soon = byId("soon");
  let timers = [];
  const begin = () => {
    timers.forEach(clearTimeout);
    soon.hidden = true;
    timers = [
      setTimeout(() => { soon.hidden = false; }, Math.max(idle_ms - WARNED_MS, idle_ms / 2)),
      setTimeout(() => location.reload(), idle_ms + 2000),
    ];
  };
  byId("stay").addEventListener("click", () => post("stay").then(begin));
  begin();
}

if (page.idleS) warnInTime();
if (page.homeS) setTimeout(() => location.assign(page.home), Number(page.homeS) * 1000);

// --------------------------------------------------------------- voice

const voice = window.speechSynthesis;

function speak(text) {
  voice.cancel();
  const said = new SpeechSynthesisUtterance(text);
  said.lang = document.documentElement.lang;
  voice.speak(said);
  return said;
}

function readAloud(button) {
  const begin = button.textContent;
  const end = () => { button.textContent = begin; };
  button.hidden = !voice;
  button.addEventListener("click", () => {
    if (button.textContent !== begin) {
      voice.cancel();
      end();
      return;
    }
    button.textContent = button.dataset.stop;
    speak(byId("notice").textContent).addEventListener("end", end);
  });
}

if (byId("listen")) readAloud(byId("listen"));

// --------------------------------------------------------------- paper

if (byId("print")) {
  byId("print").hidden = false;
  byId("print").addEventListener("click", () => window.print());
  window.addEventListener("beforeprint", () => { byId("whole").open = true; });
}

// -------------------------------------------------------------- camera

const HINT_MS = 1500; // a hint that changes faster than this is no help
const LOOK_MS = 60;

class Guide {
  constructor() {
    this.ask = byId("ask");
    this.hint = byId("hint");
    this.hintedMs = 0;
    this.button = byId("speak");
    this.button.hidden = !voice;
    this.button.addEventListener("click", () => {
      const on = this.button.getAttribute("aria-pressed") !== "true";
      this.button.setAttribute("aria-pressed", String(on));
      if (on) speak(this.ask.textContent);
      else voice.cancel();
    });
  }

  say(element, text) {
    if (element.textContent === text) return;
    element.textContent = text;
    if (text && this.button.getAttribute("aria-pressed") === "true") speak(text);
  }

  show(said, otherwise) {
    byId("mirror").dataset.turn = said.turn;
    this.say(this.ask, said.ask || otherwise);
    if (performance.now() - this.hintedMs > HINT_MS) {
      this.hintedMs = performance.now();
      this.say(this.hint, said.hint);
    }
    const bar = byId("progress");
    bar.hidden = !said.total;
    if (said.total) {
      bar.max = said.total;
      bar.value = said.done;
    }
  }
}

// The station's own camera: its picture is fetched to be seen.
class OwnCamera {
  constructor(image) {
    this.image = image;
    this.count = 0;
  }

  async open() {}

  async picture() {
    this.image.src = `${page.at}picture?${this.count++}`;
    await this.image.decode().catch(() => {}); // the next one will do
    return null;
  }

  close() {}
}

// This browser's camera: its pictures are sent to be looked at.
class BrowserCamera {
  constructor(video) {
    this.video = video;
    this.canvas = document.createElement("canvas");
  }

  async open() {
    const asked = { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: "user" };
    this.stream = await navigator.mediaDevices.getUserMedia({ video: asked, audio: false });
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  picture() {
    this.canvas.width = this.video.videoWidth;
    this.canvas.height = this.video.videoHeight;
    this.canvas.getContext("2d").drawImage(this.video, 0, 0);
    return new Promise((done) => this.canvas.toBlob(done, "image/jpeg", 0.9));
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
  }
}

async function capture(place) {
  const words = place.dataset;
  const guide = new Guide();
  const button = byId("start");
  const shown = byId("camera");
  const camera = words.camera === "own" ? new OwnCamera(shown) : new BrowserCamera(shown);

  const fail = (text) => {
    camera.close();
    guide.say(guide.ask, text);
    button.hidden = false;
    button.focus();
  };

  button.addEventListener("click", async () => {
    button.hidden = true;
    guide.say(guide.ask, words.wait);
    byId("mirror").scrollIntoView({ block: "start" });
    try {
      await camera.open();
    } catch {
      fail(words.denied);
      return;
    }
    const begun = await post("start").catch(() => null);
    if (begun === null || begun.status === 409) {
      fail(begun === null ? words.lost : words.busy);
      return;
    }
    if (!begun.ok || begun.redirected) {
      location.reload();
      return;
    }
    for (;;) {
      try {
        const answer = await post("look", await camera.picture());
        if (answer.redirected || answer.status === 403) break;
        if (answer.ok) {
          const said = await answer.json();
          if (said.go) {
            camera.close();
            location.replace(said.go);
            return;
          }
          guide.show(said, words.demo || words.wait);
        }
      } catch {
        guide.say(guide.ask, words.lost);
        await wait(1000);
      }
      await wait(LOOK_MS);
    }
    camera.close();
    location.reload();
  });
}

if (byId("capture")) capture(byId("capture"));
