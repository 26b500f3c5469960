/* Two jsPsych plugins: a page of text, and the choice between two faces. */
"use strict";

// Without jsPsych the page says which file is missing (app.js); nothing may stop it from doing so.
const { ParameterType } = window.jsPsychModule ?? { ParameterType: {} };

/** A page that is read and left by a button. */
class TextPage {
  static info = {
    name: "text-page",
    version: "1.0.0",
    parameters: {
      /** Trusted HTML of the page, with one h1. */
      html: { type: ParameterType.HTML_STRING, default: "" },
      /** Label of the button that leads on; null for a page that is not left. */
      button: { type: ParameterType.STRING, default: "Continue" },
      /** Called with the page's element once it is shown. */
      prepare: { type: ParameterType.FUNCTION, default: null },
      /** Called when the button is pressed; returns an error text to stay, or null to go on. */
      check: { type: ParameterType.FUNCTION, default: null },
    },
    data: {},
  };

  constructor(jsPsych) {
    this.jsPsych = jsPsych;
  }

  trial(display, trial) {
    const section = document.createElement("section");
    section.className = "text";
    section.innerHTML = trial.html;
    const form = document.createElement("form");
    form.noValidate = true;
    form.append(...section.querySelectorAll(".field"));
    const error = document.createElement("p");
    error.className = "error";
    error.setAttribute("role", "alert");
    form.append(error);
    if (trial.button !== null) {
      const button = document.createElement("button");
      button.className = "main";
      button.textContent = trial.button;
      form.append(button);
    }
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const wrong = trial.check ? trial.check(section) : null;
      if (wrong) {
        error.textContent = wrong;
        return;
      }
      display.replaceChildren();
      this.jsPsych.finishTrial({});
    });
    section.append(form);
    display.replaceChildren(section);
    window.scrollTo(0, 0);
    const heading = section.querySelector("h1");
    if (heading) {
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
    }
    if (trial.prepare) trial.prepare(section);
  }
}

/** A target above two faces; answered by a key, a tap or a click. */
class FaceChoice {
  static info = {
    name: "face-choice",
    version: "1.0.0",
    parameters: {
      target: { type: ParameterType.IMAGE, default: undefined },
      left: { type: ParameterType.IMAGE, default: undefined },
      right: { type: ParameterType.IMAGE, default: undefined },
      question: { type: ParameterType.STRING, default: "" },
      left_keys: { type: ParameterType.KEYS, default: ["arrowleft", "f"] },
      right_keys: { type: ParameterType.KEYS, default: ["arrowright", "j"] },
      /** Milliseconds of the fixation cross before the faces. */
      fixation: { type: ParameterType.INT, default: 400 },
      /** Milliseconds of the empty page after the answer. */
      gap: { type: ParameterType.INT, default: 250 },
      /** Called with the answer the moment it is given, before the gap. */
      record: { type: ParameterType.FUNCTION, default: null },
    },
    data: {
      /** "left", "right", or null when a picture could not be shown. */
      side: { type: ParameterType.STRING },
      /** Milliseconds from the first frame with the faces to the answer. */
      rt: { type: ParameterType.FLOAT },
      /** "key", "touch", "mouse" or "pen". */
      input: { type: ParameterType.STRING },
    },
  };

  constructor(jsPsych) {
    this.jsPsych = jsPsych;
  }

  trial(display, trial) {
    const view = document.createElement("div");
    view.className = "choice";
    view.innerHTML = `
      <h1 class="question"></h1>
      <div class="target"><img alt="The face to compare with" draggable="false"></div>
      <div class="pair" role="group" aria-label="Your answer">
        <button data-side="left"><img alt="Face on the left" draggable="false">
          <span class="key" aria-hidden="true"><kbd>←</kbd> or <kbd>F</kbd></span></button>
        <button data-side="right"><img alt="Face on the right" draggable="false">
          <span class="key" aria-hidden="true"><kbd>→</kbd> or <kbd>J</kbd></span></button>
      </div>
      <p class="cross" aria-hidden="true">+</p>`;
    view.querySelector(".question").textContent = trial.question;
    const [target, left, right] = view.querySelectorAll("img");
    target.src = trial.target;
    left.src = trial.left;
    right.src = trial.right;
    view.classList.add("waiting");
    display.replaceChildren(view);
    window.scrollTo(0, 0);

    const wait = (ms) => new Promise((go) => this.jsPsych.pluginAPI.setTimeout(go, ms));
    const decoded = Promise.all([target, left, right].map((image) => image.decode()));
    let start = null;
    let last = "mouse";

    const finish = (side, rt, input) => {
      document.removeEventListener("keydown", onKey);
      delete view.dataset.open;
      if (trial.record) trial.record({ side, rt, input });
      view.replaceChildren();
      this.jsPsych.pluginAPI.setTimeout(() => {
        display.replaceChildren();
        this.jsPsych.finishTrial({ side, rt, input });
      }, trial.gap);
    };
    const answer = (side, when, input) => {
      if (start === null) return;
      const rt = Math.max(0, when - start);
      start = null;
      finish(side, rt, input);
    };
    // On the document, so that keys count wherever the focus is; a key that is still held down from
    // the trial before is no answer, and arrows must not scroll the page.
    const onKey = (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const key = event.key.toLowerCase();
      const left = trial.left_keys.includes(key);
      if (!left && !trial.right_keys.includes(key)) return;
      event.preventDefault();
      if (!event.repeat) answer(left ? "left" : "right", event.timeStamp, "key");
    };
    const show = () => {
      view.classList.remove("waiting");
      // The callback after the next one runs once the faces have been handed to the screen.
      requestAnimationFrame(() =>
        requestAnimationFrame((now) => {
          start = now;
          view.dataset.open = "";
        }),
      );
    };

    document.addEventListener("keydown", onKey);
    view.addEventListener("pointerdown", (event) => {
      last = event.pointerType || "mouse";
    });
    for (const button of view.querySelectorAll("button")) {
      button.addEventListener("click", (event) => {
        // A click without a pointer is Enter or Space on a button reached by Tab.
        answer(button.dataset.side, event.timeStamp, event.detail === 0 ? "key" : last);
      });
    }
    Promise.all([decoded, wait(trial.fixation)]).then(show, () => finish(null, null, null));
  }
}

/** A comparison that cannot be shown. */
class Skipped {
  static info = { name: "skipped", version: "1.0.0", parameters: {}, data: {} };

  constructor(jsPsych) {
    this.jsPsych = jsPsych;
  }

  trial() {
    this.jsPsych.finishTrial({});
  }
}

window.TextPage = TextPage;
window.FaceChoice = FaceChoice;
window.Skipped = Skipped;
