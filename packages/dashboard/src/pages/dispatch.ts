import type { Html } from "../html.js";
import type { Action } from "../page.js";
import { counted } from "./format.js";
import { result, step } from "./parts.js";

export function pauseStep(waiting: number): Html {
  return step({
    id: "pause",
    label: "Pause dispatch",
    explains: `${counted(waiting, "file")} wait now. While dispatch is paused, no more files are given to the workers: what they have already is still carried, and new runs wait.`,
    confirms: "Pause dispatch",
    path: "/dispatch/pause",
    isDangerous: true,
  });
}

export function resumeStep(waiting: number): Html {
  return step({
    id: "resume",
    label: "Resume dispatch",
    explains: `${counted(waiting, "file")} wait, and are given to the workers again.`,
    confirms: "Resume dispatch",
    path: "/dispatch/resume",
  });
}

export const dispatchActions: Action[] = [
  {
    path: "/dispatch/pause",
    async run({ change }) {
      await change("POST", "/api/v1/dispatch/pause");
      const says = "No more files are given to the workers until it is resumed.";
      return result("Dispatch is paused", says, [["/overview", "The overview, where it is resumed"]]);
    },
  },
  {
    path: "/dispatch/resume",
    async run({ change }) {
      const { paused } = (await change("POST", "/api/v1/dispatch/resume")) as { paused: boolean };
      const says = paused
        ? "It waits until the window of dispatch opens, by the clock."
        : "Files are given to the workers again.";
      return result(paused ? "Dispatch is still paused" : "Dispatch goes on", says, [
        ["/overview", "The overview"],
      ]);
    },
  },
];
