import type { Page } from "../page.js";
import { auditPage, entryPage } from "./audit.js";
import { eventsPage } from "./events.js";
import { failuresPage } from "./failures.js";
import { filesPage } from "./files.js";
import { hostsPage } from "./hosts.js";
import { overviewPage } from "./overview.js";
import { pairPage, pairsPage } from "./pairs.js";
import { runPage } from "./run.js";
import { runsPage } from "./runs.js";
import { workersPage } from "./workers.js";

/** All pages, in the order of the navigation. What is asked for without a path is the first one. */
export const PAGES: readonly Page[] = [
  overviewPage,
  runsPage,
  pairsPage,
  hostsPage,
  workersPage,
  eventsPage,
  auditPage,
  entryPage,
  runPage,
  pairPage,
  filesPage,
  failuresPage,
];
