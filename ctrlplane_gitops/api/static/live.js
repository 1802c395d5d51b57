// Keeps the page as it is on the server: when an event arrives, the parts marked data-live are
// fetched anew and put in place. Everything works without it; only then one reloads by hand.
"use strict";

(() => {
  const sign = document.getElementById("live");
  const source = document.body.dataset.stream;
  let timer = 0;
  let last = 0;
  let isAsking = false;

  const say = (state, text) => {
    if (sign) {
      sign.dataset.state = state;
      sign.textContent = text;
    }
  };

  // What a person is in the middle of stays: a field with focus, a text being selected.
  const isBusy = (part) => {
    const active = document.activeElement;
    if (active && part.contains(active) && /^(INPUT|SELECT|TEXTAREA)$/.test(active.tagName)) return true;
    const chosen = window.getSelection();
    return Boolean(chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode));
  };

  const put = (part, fresh) => {
    if (part.isEqualNode(fresh) || isBusy(part)) return;
    const active = document.activeElement;
    const focused = active && part.contains(active) ? active.dataset.key || active.getAttribute("href") : null;
    const scrolls = [...part.querySelectorAll("[tabindex]")].map((item) => ({
      top: item.scrollHeight - item.scrollTop - item.clientHeight < 8 ? Infinity : item.scrollTop,
      left: item.scrollLeft,
    }));
    part.replaceWith(fresh);
    fresh.querySelectorAll("[tabindex]").forEach((item, place) => {
      if (scrolls[place]) item.scrollTo(scrolls[place].left, Math.min(scrolls[place].top, item.scrollHeight));
    });
    if (focused) {
      const found = [...fresh.querySelectorAll("a, button")].find(
        (item) => (item.dataset.key || item.getAttribute("href")) === focused);
      if (found) found.focus({ preventScroll: true });
    }
  };

  const refresh = async () => {
    timer = 0;
    if (isAsking || document.hidden) return;
    isAsking = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Requested-With": "live" } });
      if (answer.redirected) {
        say("lost", "signed out; load the page again");
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const other = fresh.getElementById(part.id);
        if (other) put(part, document.importNode(other, true));
      }
      last = Date.now();
      if (!source) say("live", `as of ${new Date().toISOString().slice(11, 19)} UTC`);
    } catch {
      say("lost", "not reached; trying again");
    } finally {
      isAsking = false;
    }
  };

  // Many events at once are one look, and never more than one in two seconds.
  const ask = () => {
    if (!timer) timer = setTimeout(refresh, Math.max(250, 2000 - (Date.now() - last)));
  };

  if (document.querySelector("[data-live]")) {
    // What is no event changes too: ages, health, telemetry.
    setInterval(ask, 15000);
    // A browser has few connections to a host: who is not looked at keeps none.
    let stream = null;
    const follow = () => {
      if (document.hidden) {
        if (stream) stream.close();
        stream = null;
        return;
      }
      ask();
      if (!source || stream) return;
      stream = new EventSource(source);
      stream.onopen = () => say("live", "live");
      stream.onerror = () => say("lost", "connection lost; trying again");
      stream.addEventListener("event", ask);
    };
    document.addEventListener("visibilitychange", follow);
    last = Date.now();
    follow();
  }

  document.addEventListener("keydown", (event) => {
    const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const field = document.getElementById("search");
      if (field) {
        event.preventDefault();
        field.focus();
        field.select();
      }
    } else if (event.key === "Escape" && event.target.id === "search") {
      event.target.blur();
    }
  });

  // What cannot be taken back is asked about once more.
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.ask;
    if (question && !window.confirm(question)) event.preventDefault();
  });
})();
