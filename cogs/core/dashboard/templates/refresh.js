const live = document.getElementById("live");
const state = document.getElementById("state");
let answered = new Date();

async function refresh() {
  // A selection would be lost, so a request id can be copied in peace.
  if (!document.hidden && getSelection().isCollapsed) {
    try {
      const answer = await fetch("live", { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (answer.status === 401) {
        location.reload();
        return;
      }
      if (!answer.ok) throw new Error(answer.status);
      live.innerHTML = await answer.text();
      answered = new Date();
      state.textContent = "";
    } catch {
      state.textContent = `No answer from the bot since ${answered.toLocaleTimeString()}.`;
    }
  }
  setTimeout(refresh, 5000);
}

setTimeout(refresh, 5000);
